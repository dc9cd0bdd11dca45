//! The values of options, read with errors that name the option, the value and what was expected.

use std::{fmt::Display, ops::Range, str::FromStr, time::Duration};

use tower_throttle_mock::elevenlabs::Account;
use tower_throttle_plans::elevenlabs::Plan;

type Result<T> = std::result::Result<T, lexopt::Error>;

pub(super) fn number<N: FromStr<Err: Display>>(option: &str, text: &str) -> Result<N> {
    text.parse()
        .map_err(|error| format!("{option}: expected a whole number, not {text:?}: {error}").into())
}

pub(super) fn positive(option: &str, text: &str) -> Result<usize> {
    match number(option, text)? {
        0 => Err(format!("{option}: expected at least 1, not 0").into()),
        n => Ok(n),
    }
}

/// `50ms`, `1.5s`.
pub(super) fn duration(option: &str, text: &str) -> Result<Duration> {
    let units = [("ms", 1e-3), ("s", 1.0)];
    let split = units.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?;
        let seconds: f64 = number.trim_end().parse().ok()?;
        Duration::try_from_secs_f64(seconds * factor).ok()
    });
    let day = Duration::from_secs(86_400);
    split.filter(|time| *time <= day).ok_or_else(|| {
        format!("{option}: expected a time like 50ms or 1.5s, up to a day, not {text:?}").into()
    })
}

/// A time, or two with a colon between them: from the first up to the second.
pub(super) fn times(option: &str, text: &str) -> Result<Range<Duration>> {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let (from, to) = (duration(option, from)?, duration(option, to)?);
    if from > to {
        let message = format!("{option}: expected the shorter time first, not {text:?}");
        return Err(message.into());
    }
    Ok(from..to)
}

/// `50ms:10`: a delay and a depth.
pub(super) fn queue(option: &str, text: &str) -> Result<(Duration, usize)> {
    let Some((delay, depth)) = text.split_once(':') else {
        return Err(format!("{option}: expected TIME:N, like 50ms:10, not {text:?}").into());
    };
    Ok((duration(option, delay)?, positive(option, depth)?))
}

/// `a=b`, where neither is empty.
pub(super) fn pair<'a>(option: &str, text: &'a str, form: &str) -> Result<(&'a str, &'a str)> {
    let pair = text.split_once('=');
    pair.filter(|(a, b)| !a.is_empty() && !b.is_empty())
        .ok_or_else(|| format!("{option}: expected {form}, not {text:?}").into())
}

/// A key, and what is to be known of it before it can be let in.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) value: String,
    pub(super) plan: Plan,
    pub(super) workspace: Option<String>,
    pub(super) account: Account,
}

/// `KEY=PLAN`, and after a comma each whatever else is to be said of the key.
pub(super) fn key(option: &str, text: &str) -> Result<Key> {
    let (key, rest) = pair(option, text, "KEY=PLAN")?;
    let mut words = rest.split(',');
    let plan = words.next().unwrap_or_default();
    let plan = plan.parse().map_err(|error| format!("{option}: {error}"))?;
    let mut workspace = None;
    let account = words.try_fold(Account::new(plan), |account, word| {
        Ok::<_, lexopt::Error>(match word.split_once('=') {
            Some(("workspace", name)) => {
                workspace = Some(name.to_owned());
                account.workspace(name)
            }
            Some(("credits", credits)) => account.credits(number(option, credits)?),
            Some(("without", permission)) => account.without_permission(permission),
            None if word == "disabled" => account.disabled(),
            None if word == "unusual-activity" => account.unusual_activity(),
            _ => {
                let message = format!(
                    "{option}: expected workspace=NAME, credits=N, without=PERMISSION, \
                     unusual-activity or disabled, not {word:?}"
                );
                return Err(message.into());
            }
        })
    })?;
    Ok(Key {
        value: key.to_owned(),
        plan,
        workspace,
        account,
    })
}

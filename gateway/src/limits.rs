//! What an endpoint allows, as it is written on the command line: `concurrency:4,rps:5`; and tables of limits.

use std::time::Duration;

use toml::{Table, Value};
use tower_throttle::{
    MAX_WINDOWS, Quota,
    elevenlabs::{Family, Plan},
};

/// Longer than anybody waits, and short enough to be added to any instant.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a limit.
///
/// # Errors
///
/// If it cannot be read: with the part that is wrong, and what was expected instead.
pub(crate) fn quota(text: &str) -> Result<Quota, String> {
    // Here each part has a colon or a name alone, and there windows and concurrency begin with their number.
    let begins_with_number =
        |part: &str| part.trim_start().starts_with(|c: char| c.is_ascii_digit());
    if text.split(',').any(begins_with_number) || text.trim() == "unlimited" {
        return text
            .parse::<Quota>()
            .map_err(|error| format!("{text:?}: {error}"));
    }
    let mut windows = Vec::new();
    let mut concurrency = None;
    let mut margin = None;
    let mut head = None;
    for part in text.split(',') {
        let (what, value) = part.split_once(':').unwrap_or((part, ""));
        let read = match what {
            "rps" => positive(value).map(|n| windows.push((n, Duration::from_secs(1)))),
            "rpm" => positive(value).map(|n| windows.push((n, Duration::from_secs(60)))),
            "per" => window(value).map(|window| windows.push(window)),
            "concurrency" => positive(value).and_then(|n| once(&mut concurrency, n as usize)),
            "margin" => some_time(value).and_then(|time| once(&mut margin, time)),
            "head" if part == "head" => once(&mut head, ()),
            _ => Err(
                "expected rps:N, rpm:N, per:N/TIME, concurrency:N, margin:TIME or head; or \
                     a list such as \"5/s, 4 at once\""
                    .into(),
            ),
        };
        read.map_err(|error| format!("{part:?}: {error}"))?;
    }
    if windows.len() > MAX_WINDOWS {
        return Err(format!("{text:?}: expected at most {MAX_WINDOWS} windows"));
    }
    let mut quota = Quota::unlimited();
    for (n, period) in windows {
        quota = quota.and_per(n, period);
    }
    if let Some(n) = concurrency {
        quota = quota.concurrency(n);
    }
    if let Some(margin) = margin {
        quota = quota.margin(margin);
    }
    if head.is_some() {
        quota = quota.release_at_head();
    }
    Ok(quota)
}

/// All requests go to one host, so a template that begins with one is a slash forgotten.
pub(crate) fn path_only(template: &str) -> Result<(), String> {
    let path = template.rsplit(' ').next().unwrap_or_default();
    if path.starts_with('/') {
        return Ok(());
    }
    Err(format!(
        "expected a path that begins with a slash, such as \"POST /v1/speech\", not {template:?}"
    ))
}

/// The templates in a table of limits. What is not as it should be has none.
pub(crate) fn templates(limits: &Table) -> Vec<&str> {
    let table = |key| limits.get(key).and_then(Value::as_table);
    let routes = table("routes").into_iter().flat_map(Table::keys);
    let groups = table("groups").into_iter().flat_map(Table::values);
    let groups = groups.filter_map(|group| group.get("routes")?.as_array());
    let named = groups.flatten().filter_map(Value::as_str);
    routes.map(String::as_str).chain(named).collect()
}

/// Adds what an ElevenLabs plan allows for speech: a named endpoint for one family of models, which a request's body
/// chooses, and a group for all other requests for speech.
///
/// # Errors
///
/// If there are limits for speech already.
pub(crate) fn of_plan(limits: &mut Table, plan: Plan) -> Result<(), String> {
    const SPEECH: &str = "/v1/text-to-speech/";
    for template in templates(limits) {
        if template.contains(SPEECH) {
            return Err(format!(
                "limits: {template:?} has its limit from the plan (elevenlabs): expected only one of the two"
            ));
        }
    }
    let quota = |family| Quota::concurrent(plan.concurrency(family)).to_string();
    let others = Table::from_iter([
        ("quota".to_owned(), quota(Family::Multilingual).into()),
        (
            "routes".to_owned(),
            Value::Array(vec![format!("POST {SPEECH}{{*rest}}").into()]),
        ),
    ]);
    add(limits, "named", Family::Flash, quota(Family::Flash).into())?;
    add(limits, "groups", Family::Multilingual, others.into())
}

fn add(limits: &mut Table, key: &str, family: Family, value: Value) -> Result<(), String> {
    let table = limits.entry(key).or_insert_with(|| Table::new().into());
    let Some(table) = table.as_table_mut() else {
        return Err(format!("limits: {key}: expected a table"));
    };
    match table.insert(family.name().to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(format!(
            "limits: {key}: {:?} is there already, from the plan (elevenlabs): expected another name",
            family.name()
        )),
    }
}

/// Puts the value where none may have been put before.
pub(crate) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("expected only once".into()),
    }
}

fn window(value: &str) -> Result<(u32, Duration), String> {
    let Some((n, period)) = value.split_once('/') else {
        return Err("expected per:N/TIME, such as per:100/2m".into());
    };
    Ok((positive(n)?, some_time(period)?))
}

fn positive(value: &str) -> Result<u32, String> {
    let number = value.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| format!("expected a whole number from 1 on, not {value:?}"))
}

/// A time that is not 0.
pub(crate) fn some_time(value: &str) -> Result<Duration, String> {
    match time(value)? {
        Duration::ZERO => Err(format!("expected a time longer than 0, not {value:?}")),
        time => Ok(time),
    }
}

/// A number and its unit.
pub(crate) fn time(value: &str) -> Result<Duration, String> {
    let unit = value.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = value.split_at(unit.unwrap_or(value.len()));
    let unit = match unit {
        "ms" => Some(0.001),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    // A sign or an exponent is a slip.
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = number.parse::<f64>().ok().filter(|_| plain);
    let seconds = number.zip(unit).map(|(number, unit)| number * unit);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= LONGEST)
        .ok_or_else(|| format!("expected a time such as 250ms, 1.5s or 2m, not {value:?}"))
}

//! A quota as text, to be read from a configuration and shown to people.

mod error;
mod number;

use std::{fmt, str::FromStr, time::Duration};

pub use self::error::InvalidQuota;
use self::{
    error::{Reason, Setting},
    number::{Grouped, Time, read_digits, read_time, split_after_time},
};
use super::{
    builder::{MAX_WINDOWS, Quota},
    forecast::QuotaLimit,
    window::Window,
};
use crate::costs::Unit;

/// A time as a text of its own, such as `500ms`.
///
/// # Errors
///
/// What is wrong with it.
#[cfg(feature = "serde")]
pub(crate) fn read_duration(text: &str) -> Result<Duration, String> {
    match read_time(text.trim(), None) {
        Err(Reason::ZeroTime) => Ok(Duration::ZERO),
        time => time.map_err(|reason| reason.to_string()),
    }
}

/// As [`read_duration`] reads it.
#[cfg(feature = "serde")]
pub(crate) fn write_duration(time: Duration) -> String {
    if time.is_zero() {
        return "0s".to_owned();
    }
    Time(time).to_string()
}

/// When a window says that it counts.
#[derive(Clone, Copy)]
enum Counted {
    AtDispatch,
    AtEnd,
}

enum Part {
    Window(Window),
    Unlimited,
    Concurrency(usize),
    Margin(Duration),
    Grace(Duration),
    UntilHead,
}

/// Reads what [`Display`](#impl-Display-for-Quota) writes, and a little more.
///
/// A text is a list of parts with commas between them, in any order:
///
/// | part | is |
/// |---|---|
/// | `5/s`, `100/2min`, `5 requests/s` | [`and_per`](Quota::and_per) |
/// | `30_000 input_tokens/min` | [`units`](Quota::units) |
/// | `90 points/min counted at end` | the same, of a [`Unit::at_end`] |
/// | `4 at once` | [`concurrency`](Quota::concurrency) |
/// | `margin 50ms` | [`margin`](Quota::margin) |
/// | `grace 2s` | [`grace`](Quota::grace) |
/// | `until head` | [`release_at_head`](Quota::release_at_head) |
/// | `unlimited` | no window and no concurrency, which has to be said |
///
/// - **Windows** are `N [unit] "/" [K] time`, up to [`MAX_WINDOWS`]; they may repeat. Every other part is there at
///   most once.
/// - **Numbers** are whole, and may have a `_` between two digits. A number stands apart from the name that follows
///   it, so that `30k/min` is an error.
/// - **Times** are in `ns`, `us` (or `µs`), `ms`, `s`, `min`, `h` and `d` of 24 hours; `m` is minutes, and the words
///   `second`, `seconds`, `sec`, `secs`, `minute`, `mins`, `hour`, `hr`, `day` and so on do too. Without a number a
///   period is one of them; a margin and a grace have a number.
/// - **Units**: the name of a constant of [`Unit`] is that constant, so that `output_tokens` count at the answer's end
///   whether or not the text says `counted at end`; any other name counts at dispatch. `counted at dispatch` makes
///   `output_tokens` count then. A name that differs from a constant's only by its case, its ending or a hyphen, such
///   as `request`, is an error unless the text says when it is counted.
/// - **White space** is free around commas, slashes and numbers of times. Case counts everywhere.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::{Quota, Unit};
///
/// let minute = Duration::from_secs(60);
/// let text = "5/s, 100/2min, 30_000 input_tokens/min, 8_000 output_tokens/min counted at end, \
///             4 at once, margin 50ms, grace 2s, until head";
/// let quota = Quota::per_second(5)
///     .and_per(100, 2 * minute)
///     .units(Unit::INPUT_TOKENS, 30_000, minute)
///     .units(Unit::OUTPUT_TOKENS, 8_000, minute)
///     .concurrency(4)
///     .margin(Duration::from_millis(50))
///     .grace(Duration::from_secs(2))
///     .release_at_head();
///
/// assert_eq!(text.parse::<Quota>()?, quota);
/// assert_eq!(quota.to_string(), text);
/// assert_eq!("unlimited".parse::<Quota>()?, Quota::unlimited());
/// # Ok::<(), tower_throttle::InvalidQuota>(())
/// ```
///
/// # Errors
///
/// Whatever a text may be, it is a quota or an [`InvalidQuota`] that names the part that is wrong. What the builder
/// would panic at is an error here.
impl FromStr for Quota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Self, InvalidQuota> {
        let mut quota = Self::unlimited();
        let mut unlimited = None;
        let parts = || text.split(',').map(str::trim);
        for part in parts() {
            let invalid = |reason| InvalidQuota::new(part, reason);
            let once = |is_first: bool, setting| {
                let repeated = || invalid(Reason::Repeated(setting));
                is_first.then_some(()).ok_or_else(repeated)
            };
            match Part::read(part).map_err(invalid)? {
                Part::Window(window) => {
                    quota = quota.with_window(window).map_err(invalid)?;
                }
                Part::Unlimited => {
                    once(unlimited.is_none(), Setting::Unlimited)?;
                    unlimited = Some(part);
                }
                Part::Concurrency(n) => {
                    once(quota.concurrency.is_none(), Setting::Concurrency)?;
                    quota = quota.concurrency(n);
                }
                Part::Margin(margin) => {
                    once(quota.margin.is_zero(), Setting::Margin)?;
                    quota = quota.margin(margin);
                }
                Part::Grace(time) => {
                    once(quota.grace.is_zero(), Setting::Grace)?;
                    quota = quota.grace(time);
                }
                Part::UntilHead => {
                    once(!quota.release_at_head, Setting::UntilHead)?;
                    quota = quota.release_at_head();
                }
            }
        }
        match (unlimited, quota.limits()) {
            (Some(part), true) => Err(InvalidQuota::new(part, Reason::NotUnlimited)),
            (None, false) => {
                let first = parts().next().unwrap_or_default();
                Err(InvalidQuota::new(first, Reason::LimitsNothing))
            }
            _ => Ok(quota),
        }
    }
}

impl Quota {
    fn with_window(self, window: Window) -> Result<Self, Reason> {
        if self.len == MAX_WINDOWS {
            return Err(Reason::TooManyWindows);
        }
        if let Some(other) = self.windows().find(|other| !other.agrees_with(&window)) {
            return Err(Reason::CountedTwice(other.unit()));
        }
        Ok(self.units(window.unit(), window.n(), window.period()))
    }
}

impl Part {
    fn read(part: &str) -> Result<Self, Reason> {
        let words: Vec<_> = part.split_whitespace().collect();
        if part.contains('/') {
            return read_window(&words.join(" ")).map(Self::Window);
        }
        match *words {
            [] => Err(Reason::Empty),
            ["unlimited"] => Ok(Self::Unlimited),
            ["until", "head"] => Ok(Self::UntilHead),
            [n, "at", "once"] => {
                let n = read_limit(n, usize::MAX as u64)?;
                Ok(Self::Concurrency(usize::try_from(n).unwrap_or(usize::MAX)))
            }
            ["margin", ref time @ ..] => read_time(&time.join(" "), None).map(Self::Margin),
            ["grace", ref time @ ..] => read_time(&time.join(" "), None).map(Self::Grace),
            _ => Err(Reason::Unknown),
        }
    }
}

/// `text` has single spaces only, and a slash.
fn read_window(text: &str) -> Result<Window, Reason> {
    let (what, when) = text.split_once('/').unwrap_or((text, ""));
    let (n, name) = match what.trim().split_once(' ') {
        Some(both) => both,
        None => (what.trim(), Unit::REQUESTS.name()),
    };
    let (period, after) = split_after_time(when.trim());
    let unit = match after {
        "" => read_unit(name, None),
        "counted at dispatch" => read_unit(name, Some(Counted::AtDispatch)),
        "counted at end" => read_unit(name, Some(Counted::AtEnd)),
        _ => Err(Reason::AfterTime(after.into())),
    }?;
    let most = if unit.is_requests() {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let n = read_limit(n, most)?;
    Ok(Window::new(unit, n, read_time(period, Some("1"))?))
}

fn read_unit(name: &str, counted: Option<Counted>) -> Result<Unit, Reason> {
    let unit = Unit::try_new(name).ok_or_else(|| Reason::NotAUnit(name.into()))?;
    match counted {
        Some(Counted::AtEnd) if unit.is_requests() => Err(Reason::RequestsAtEnd),
        Some(Counted::AtEnd) => Ok(unit.at_end()),
        Some(Counted::AtDispatch) => Ok(unit),
        None => match GIVEN.iter().find(|given| looks_like(name, given.name())) {
            Some(given) if given.is_called_as(&unit) => Ok(*given),
            Some(&meant) => Err(Reason::Misspelt {
                name: name.into(),
                meant,
            }),
            None => Ok(unit),
        },
    }
}

const GIVEN: [Unit; 5] = [
    Unit::REQUESTS,
    Unit::TOKENS,
    Unit::INPUT_TOKENS,
    Unit::OUTPUT_TOKENS,
    Unit::CREDITS,
];

/// Whether somebody who writes `name` may mean `given`: a limit on a unit that nobody charges would limit nothing.
fn looks_like(name: &str, given: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let singular = |name| str::strip_suffix(name, 's').unwrap_or(name);
    let whole = match singular(&name) {
        "req" => "request",
        whole => whole,
    };
    whole == singular(given)
}

fn read_limit(word: &str, most: u64) -> Result<u64, Reason> {
    // Digits that are no u64 are too many.
    match read_digits(word)?.parse() {
        Ok(0) => Err(Reason::ZeroLimit),
        Ok(n) if n <= most => Ok(n),
        _ => Err(Reason::TooLarge {
            number: word.into(),
            most,
        }),
    }
}

/// Says it as a text that [`FromStr`](#impl-FromStr-for-Quota) reads as the same quota: windows first, in their order.
///
/// A time is in the longest unit of which it is a whole number, so that nothing is rounded: a second and a half is
/// `1_500ms`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for window in self.windows() {
            write!(f, "{separator}{window}")?;
            separator = ", ";
        }
        if let Some(n) = self.concurrency {
            write!(f, "{separator}{}", QuotaLimit::Concurrency(n))?;
        }
        if !self.limits() {
            f.write_str("unlimited")?;
        }
        if !self.margin.is_zero() {
            write!(f, ", margin {}", Time(self.margin))?;
        }
        if !self.grace.is_zero() {
            write!(f, ", grace {}", Time(self.grace))?;
        }
        if self.release_at_head {
            f.write_str(", until head")?;
        }
        Ok(())
    }
}

/// Says it as a part of a quota's text: `100/2min`, or `8_000 output_tokens/min counted at end`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit();
        write!(f, "{}", Grouped(u128::from(self.n())))?;
        if !unit.is_requests() {
            write!(f, " {unit}")?;
        }
        match Time(self.period()).parts() {
            (1, name) => write!(f, "/{name}"),
            (count, name) => write!(f, "/{}{name}", Grouped(count)),
        }?;
        if unit.is_at_end() {
            f.write_str(" counted at end")
        } else if read_unit(unit.name(), None) != Ok(unit) {
            f.write_str(" counted at dispatch")
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for QuotaLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(window) => window.fmt(f),
            Self::Concurrency(n) => write!(f, "{} at once", Grouped(*n as u128)),
        }
    }
}

#[cfg(test)]
mod tests;

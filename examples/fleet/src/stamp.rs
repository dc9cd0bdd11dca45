//! What processes say of each request, on standard output: a line of numbers when it goes, and one when it has ended.
//! The times are of a clock that all processes of this machine share.

use std::{fmt, str::FromStr, time::SystemTime};

/// Which request it is, what it takes, and when it came, in microseconds. Travels with it as a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) worker: u64,
    pub(crate) id: u64,
    pub(crate) leaf: u64,
    pub(crate) cost: u64,
    pub(crate) came: u64,
}

/// When it went, in microseconds, and when it had ended, if that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) tag: Tag,
    pub(crate) went: u64,
    pub(crate) ended: Option<u64>,
}

/// A request of a worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) worker: u64,
    pub(crate) id: u64,
    pub(crate) at: u64,
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// As many numbers as a line has to have.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
    numbers.ok()?.try_into().ok()
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            worker,
            id,
            leaf,
            cost,
            came,
        } = self;
        write!(f, "{worker} {id} {leaf} {cost} {came}")
    }
}

impl FromStr for Tag {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [worker, id, leaf, cost, came] = numbers(text).ok_or(())?;
        Ok(Self {
            worker,
            id,
            leaf,
            cost,
            came,
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tag, self.went)
    }
}

impl FromStr for Stamp {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (tag, went) = text.rsplit_once(' ').ok_or(())?;
        Ok(Self {
            tag: tag.parse()?,
            went: went.parse().map_err(|_| ())?,
            ended: None,
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.worker, self.id, self.at)
    }
}

impl FromStr for End {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [worker, id, at] = numbers(text).ok_or(())?;
        Ok(Self { worker, id, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let tag = Tag {
            worker: 1,
            id: 2,
            leaf: 3,
            cost: 4,
            came: 5,
        };
        let stamp = Stamp {
            tag,
            went: 6,
            ended: None,
        };
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
        assert_eq!(tag.to_string().parse(), Ok(tag));
        let end = End {
            worker: 1,
            id: 2,
            at: 7,
        };
        assert_eq!(end.to_string().parse(), Ok(end));
        // One is not taken for the other, nor half a line for a whole one.
        assert!(end.to_string().parse::<Stamp>().is_err());
        assert!(stamp.to_string().parse::<End>().is_err());
        assert!("1 2 3 4".parse::<Stamp>().is_err());
    }
}

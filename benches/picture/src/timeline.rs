//! When requests were sent, as the compliance bench wrote it down, and what that comes to.

use serde::Deserialize;

/// The part of the figures that is drawn.
#[derive(Debug, Deserialize)]
pub struct Figures {
    pub timelines: Vec<Timeline>,
    pub series: Vec<Series>,
}

/// One run.
#[derive(Debug, Deserialize)]
pub struct Timeline {
    pub scenario: String,
    pub client: String,
    /// Per second.
    pub limit: u32,
    pub requests: u32,
    pub refused: u32,
    /// Seconds.
    pub took: f64,
    /// Milliseconds after the start, and how many requests were sent then.
    sent: Vec<(u32, u32)>,
}

/// One run of those that ask who goes first.
#[derive(Debug, Deserialize)]
pub struct Series {
    pub scenario: String,
    pub client: String,
    /// Milliseconds after the start; and how long a request waited that came then, in milliseconds, or how many of a
    /// batch had been sent by then.
    pub points: Vec<(u32, u32)>,
}

/// From this millisecond on, until the next step, so many requests were sent within the last second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: u32,
    pub count: u32,
}

const SECOND: u32 = 1_000;

impl Timeline {
    /// How many requests were sent within the last second, over time. Ends with a count of 0.
    pub fn last_second(&self) -> Vec<Step> {
        let comings = self.sent.iter().map(|&(at, n)| (at, i64::from(n)));
        let goings = self
            .sent
            .iter()
            .map(|&(at, n)| (at + SECOND, -i64::from(n)));
        let mut changes: Vec<_> = comings.chain(goings).collect();
        changes.sort_unstable();
        let mut steps: Vec<Step> = Vec::new();
        let mut count = 0;
        for (from, change) in changes {
            count += change;
            let count = u32::try_from(count).expect("nobody goes who has not come");
            match steps.last_mut() {
                Some(step) if step.from == from => step.count = count,
                _ => steps.push(Step { from, count }),
            }
        }
        steps
    }

    pub fn most(&self) -> u32 {
        let counts = self.last_second().into_iter().map(|step| step.count);
        counts.max().unwrap_or_default()
    }

    pub fn sent(&self) -> u32 {
        self.sent.iter().map(|(_, n)| n).sum()
    }

    /// In milliseconds.
    pub fn last_sent(&self) -> u32 {
        self.sent.last().map_or(0, |&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(sent: &[(u32, u32)]) -> Timeline {
        Timeline {
            scenario: String::new(),
            client: String::new(),
            limit: 2,
            requests: 0,
            refused: 0,
            took: 0.0,
            sent: sent.to_vec(),
        }
    }

    fn counts(sent: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let steps = timeline(sent).last_second();
        steps.iter().map(|step| (step.from, step.count)).collect()
    }

    #[test]
    fn a_request_counts_for_a_second() {
        assert_eq!(counts(&[(0, 2)]), [(0, 2), (1_000, 0)]);
        assert_eq!(
            counts(&[(0, 1), (400, 1)]),
            [(0, 1), (400, 2), (1_000, 1), (1_400, 0)]
        );
    }

    #[test]
    fn one_that_is_a_second_old_makes_room_for_another() {
        assert_eq!(
            counts(&[(0, 2), (1_000, 2)]),
            [(0, 2), (1_000, 2), (2_000, 0)]
        );
        assert_eq!(timeline(&[(0, 2), (1_000, 2)]).most(), 2);
        assert_eq!(timeline(&[(0, 2), (999, 2)]).most(), 4);
    }
}

//! What stamps amount to. All times are microseconds.

use super::stamp::Stamp;

/// What went at which instant: requests, or what they cost. In order.
pub(crate) type Amounts = Vec<(u64, u64)>;

/// What went of a window: of one endpoint or of all, requests or costs.
pub(crate) fn amounts(stamps: &[Stamp], leaf: Option<u64>, costs: bool) -> Amounts {
    let of = stamps
        .iter()
        .filter(|stamp| leaf.is_none_or(|leaf| stamp.tag.leaf == leaf));
    let mut amounts: Amounts = of
        .map(|stamp| (stamp.went, if costs { stamp.tag.cost } else { 1 }))
        .collect();
    amounts.sort_unstable();
    amounts
}

/// The most that went within a period, wherever it begins. Its end does not belong to it.
pub(crate) fn worst(amounts: &[(u64, u64)], period: u64) -> u64 {
    let (mut first, mut sum, mut worst) = (0, 0, 0);
    for &(at, amount) in amounts {
        sum += amount;
        while amounts[first].0 + period <= at {
            sum -= amounts[first].1;
            first += 1;
        }
        worst = worst.max(sum);
    }
    worst
}

/// Which part of a limit of requests was used: from the first to the one that is whole limits later.
pub(crate) fn use_of_requests(amounts: &[(u64, u64)], n: u64, period: u64) -> Option<f64> {
    let all = amounts.len() as u64;
    let periods = all.checked_sub(1)? / n;
    let last = amounts[usize::try_from(periods * n).ok()?].0;
    (periods > 0).then(|| (periods * period) as f64 / (last - amounts[0].0) as f64)
}

/// Which part of a limit of costs was used: in whole turns, which are a period and all that is added to it, from the
/// first until `end`. What belongs to the next turn may go as much earlier as a turn is longer than a period.
pub(crate) fn use_of_costs(
    amounts: &[(u64, u64)],
    n: u64,
    period: u64,
    turn: u64,
    end: u64,
) -> Option<f64> {
    let first = amounts.first()?.0;
    let turns = end.saturating_sub(first) / turn;
    let sum: u64 = amounts
        .iter()
        .take_while(|(at, _)| *at + (turn - period) < first + turns * turn)
        .map(|(_, amount)| amount)
        .sum();
    (turns > 0).then(|| (sum * period) as f64 / (n * turns * turn) as f64)
}

/// Which part of the permits was in use between two instants.
pub(crate) fn use_of_permits(stamps: &[Stamp], n: usize, from: u64, to: u64) -> f64 {
    let held: u64 = stamps
        .iter()
        .map(|stamp| {
            let end = stamp.ended.unwrap_or(to).min(to);
            end.saturating_sub(stamp.went.max(from))
        })
        .sum();
    held as f64 / n as f64 / (to - from) as f64
}

/// The first instant after `from` at which `n` requests are under way.
pub(crate) fn all_in_use(stamps: &[Stamp], n: usize, from: u64) -> Option<u64> {
    let went = stamps.iter().map(|stamp| (stamp.went, 1));
    let ended = stamps.iter().filter_map(|stamp| Some((stamp.ended?, -1)));
    let mut changes: Vec<(u64, i64)> = went.chain(ended).collect();
    // At the same instant one ends before another begins.
    changes.sort_unstable();
    let mut under_way = 0;
    for (at, change) in changes {
        under_way += change;
        if at > from && change > 0 && usize::try_from(under_way).is_ok_and(|all| all >= n) {
            return Some(at);
        }
    }
    None
}

/// Requests that went after one of the same endpoint that had come later.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Overtaken {
    /// Which part of all.
    pub(crate) share: f64,
    /// How much later one went at most.
    pub(crate) longest: u64,
}

/// Counts those that went more than `grace` after one that came more than `younger` later.
pub(crate) fn overtaken(stamps: &[Stamp], grace: u64, younger: u64) -> Overtaken {
    let mut by_age = stamps.to_vec();
    by_age.sort_unstable_by_key(|stamp| (stamp.tag.leaf, stamp.tag.came));
    let mut found = Overtaken::default();
    for leaf in by_age.chunk_by(|one, other| one.tag.leaf == other.tag.leaf) {
        // Of those that came from there on, when the first went.
        let mut firsts: Vec<u64> = leaf.iter().map(|stamp| stamp.went).collect();
        for place in (1..firsts.len()).rev() {
            firsts[place - 1] = firsts[place - 1].min(firsts[place]);
        }
        for stamp in leaf {
            let from = leaf.partition_point(|other| other.tag.came <= stamp.tag.came + younger);
            let first = firsts.get(from).copied().unwrap_or(u64::MAX);
            let later = stamp.went.saturating_sub(first);
            found.share += f64::from(u8::from(later > grace)) / stamps.len() as f64;
            found.longest = found.longest.max(later);
        }
    }
    found
}

/// How evenly something is spread: 1 if all have the same, 1 / n if one of n has all.
pub(crate) fn jain(counts: &[u64]) -> f64 {
    let sum: u64 = counts.iter().sum();
    let squares: u64 = counts.iter().map(|n| n * n).sum();
    (sum * sum) as f64 / (counts.len() as u64 * squares).max(1) as f64
}

/// The value below which this part of them is.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> u64 {
    let place = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(place).copied().unwrap_or(0)
}

/// The longest time between two instants in which nothing went.
pub(crate) fn longest_gap(amounts: &[(u64, u64)], from: u64, to: u64) -> u64 {
    let inside = amounts.iter().map(|(at, _)| *at);
    let mut last = from;
    let mut longest = 0;
    for at in inside.filter(|at| (from..to).contains(at)).chain([to]) {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

/// The first instant from which `n` went within a period.
pub(crate) fn at_full_speed(amounts: &[(u64, u64)], n: u64, period: u64, from: u64) -> Option<u64> {
    let start = amounts.partition_point(|(at, _)| *at < from);
    let after = &amounts[start..];
    let last = usize::try_from(n.saturating_sub(1)).ok()?;
    let found = after
        .iter()
        .zip(after.iter().skip(last))
        .find(|((first, _), (last, _))| last - first < period);
    found.map(|((first, _), _)| *first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Tag;

    fn stamp(worker: u64, came: u64, went: u64, ended: Option<u64>) -> Stamp {
        let tag = Tag {
            worker,
            came,
            cost: 3,
            ..Tag::default()
        };
        Stamp { tag, went, ended }
    }

    #[test]
    fn a_window_does_not_hold_its_end() {
        assert_eq!(worst(&[], 10), 0);
        assert_eq!(worst(&[(0, 1), (10, 1), (19, 1), (20, 1)], 10), 2);
        assert_eq!(worst(&[(0, 5), (9, 4), (10, 3)], 10), 9);
        assert_eq!(worst(&[(0, 1), (0, 1), (0, 1)], 10), 3);
    }

    #[test]
    fn use_counts_whole_limits() {
        // Two at once every 11, of two every 10.
        let went: Amounts = (0..10).map(|i| (i / 2 * 11, 1)).collect();
        let used = use_of_requests(&went, 2, 10).expect("four periods");
        assert!((used - 10.0 / 11.0).abs() < 1e-9, "{used}");
        // One too few for a whole limit.
        assert_eq!(use_of_requests(&went[..2], 2, 10), None);
        assert_eq!(use_of_requests(&[], 2, 10), None);
        // Of 20 every 10, 15 in each turn of 11; what begins after the last whole turn does not count.
        let costs = [(0, 10), (5, 5), (11, 15), (21, 15)];
        let used = use_of_costs(&costs, 20, 10, 11, 30).expect("two turns");
        assert!((used - 0.75 * 10.0 / 11.0).abs() < 1e-9, "{used}");
        assert_eq!(use_of_costs(&costs, 20, 10, 11, 10), None);
    }

    #[test]
    fn permits_are_in_use_until_their_requests_end() {
        let stamps = [stamp(0, 0, 0, Some(10)), stamp(0, 0, 5, None)];
        let used = use_of_permits(&stamps, 2, 5, 15);
        assert!((used - 0.75).abs() < 1e-9, "{used}");
        let stamps = [
            stamp(0, 0, 0, Some(10)),
            stamp(0, 0, 0, Some(20)),
            stamp(0, 0, 10, Some(20)),
            stamp(0, 0, 19, None),
        ];
        assert_eq!(all_in_use(&stamps, 2, 0), Some(10));
        assert_eq!(all_in_use(&stamps, 3, 0), Some(19));
        assert_eq!(all_in_use(&stamps, 4, 0), None);
    }

    #[test]
    fn the_one_that_went_late_was_overtaken_and_not_the_other() {
        let stamps = [
            stamp(0, 0, 300, None),
            stamp(1, 10, 100, None),
            stamp(0, 40, 90, None),
            stamp(1, 50, 400, None),
        ];
        let found = overtaken(&stamps, 50, 0);
        assert_eq!((found.share, found.longest), (0.25, 210));
        // The second was, by ten.
        assert!((overtaken(&stamps, 5, 0).share - 0.5).abs() < 1e-9);
        // Nobody was by one that came so much later.
        assert_eq!(overtaken(&stamps, 50, 45), Overtaken::default());
        // Other endpoints do not count.
        let mut apart = stamps;
        apart[0].tag.leaf = 1;
        assert!(overtaken(&apart, 50, 0).share < 1e-9);
        assert_eq!(overtaken(&[], 50, 0), Overtaken::default());
    }

    #[test]
    fn spread_and_percentiles() {
        assert!((jain(&[4, 4, 4]) - 1.0).abs() < 1e-9);
        assert!((jain(&[4, 0, 0, 0]) - 0.25).abs() < 1e-9);
        let values: Vec<u64> = (0..=100).collect();
        assert_eq!(
            [0.5, 0.99, 1.0].map(|part| percentile(&values, part)),
            [50, 99, 100]
        );
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn a_pause_and_its_end_are_found() {
        let went = [(0, 1), (1, 1), (50, 1), (58, 1), (60, 1), (61, 1)];
        assert_eq!(longest_gap(&went, 0, 70), 49);
        assert_eq!(longest_gap(&went, 0, 200), 139);
        assert_eq!(longest_gap(&[], 10, 30), 20);
        // Three within ten.
        assert_eq!(at_full_speed(&went, 3, 10, 2), Some(58));
        assert_eq!(at_full_speed(&went, 5, 10, 2), None);
    }

    #[test]
    fn costs_and_endpoints_are_told_apart() {
        let mut stamps = [stamp(0, 0, 9, None), stamp(0, 0, 5, None)];
        stamps[0].tag.leaf = 1;
        assert_eq!(amounts(&stamps, None, false), [(5, 1), (9, 1)]);
        assert_eq!(amounts(&stamps, Some(1), true), [(9, 3)]);
    }
}

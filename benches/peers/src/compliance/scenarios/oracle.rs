//! When each request could have started at the earliest: list scheduling, independent of all limiters.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::compliance::load::secs;

/// When the last of them ends, if each starts in order, as soon as a slot is free and the `n`th before it
/// is a second old, and then works for its time.
pub fn makespan(n: usize, at_once: usize, times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut starts: Vec<Duration> = Vec::new();
    let mut slots: BinaryHeap<_> = vec![Reverse(Duration::ZERO); at_once].into();
    for (i, time) in times.into_iter().enumerate() {
        let previous = starts.last().copied().unwrap_or_default();
        let window = i
            .checked_sub(n)
            .map_or(Duration::ZERO, |i| starts[i] + secs(1));
        let Reverse(slot) = slots.pop().expect("there is a slot at least");
        let start = previous.max(window).max(slot);
        starts.push(start);
        slots.push(Reverse(start + time));
    }
    let ends = slots.into_iter().map(|Reverse(end)| end);
    ends.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compliance::load::ms;

    #[test]
    fn it_knows_what_can_be_counted_on_fingers() {
        let ten = |time| std::iter::repeat_n(time, 10);
        assert_eq!(makespan(5, 3, ten(secs(12))), secs(48));
        assert_eq!(makespan(5, 4, ten(ms(100))), ms(1_200));
        assert_eq!(makespan(1, 1, ten(ms(300))), ms(9_300));
    }
}

//! Whose trouble a refusal is: its own request's, or the bucket's (law L17).

use super::news::{Refusal, RefusalKind, Sent};
use crate::bucket::tick::{SECOND, Span};

/// Of how many answers ...
const LAST: u32 = 20;
/// ... how many were accepted where a single refusal is its request's own trouble.
const MOST: u32 = 19;
/// How many others are accepted between two refusals of the same request.
const OTHERS: usize = 3;

/// How long a request with a trouble of its own waits at first, and at most.
const FIRST: Span = Span(SECOND / 2);
const LONGEST: Span = Span(20 * SECOND);
/// How much is added to that at most: requests that are refused together shall not come back together.
const JITTER: f64 = 0.1;

/// What became of a bucket's requests, since the first of them was refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// The last ones: a bit for each that was accepted, the latest first.
    accepted: u32,
    /// How many were refused in all, and without those whose trouble was their own.
    refused: u64,
    shared: u64,
    /// The highest numbers of requests that were accepted, in descending order.
    highest: [u64; OTHERS],
}

/// What an earlier answer to a request was: it was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setback {
    /// The last request that had been admitted when it was heard of.
    newest: u64,
    /// The same of the first of a row of refusals that no other refusal interrupted: a request that was
    /// throttled is older than all that wait, so its next answer may well come before theirs.
    newest_at_first: u64,
    /// How many the bucket had seen refused, in all, and of these without a trouble of their own.
    refused: u64,
    shared: u64,
    /// How often in a row that was the request's own trouble, with that answer.
    own: u32,
}

impl Answers {
    /// Of a bucket that has seen no refusal, and so many answers.
    pub(super) fn all_accepted(n: u64) -> Self {
        let n = u32::try_from(n).unwrap_or(LAST).min(LAST);
        Self {
            accepted: (1 << n) - 1,
            ..Self::default()
        }
    }

    /// As long as nothing was refused, all of so many answers were accepted, heard of or not.
    pub(super) fn catch_up(&mut self, n: u64) {
        if self.refused == 0 {
            self.accepted |= Self::all_accepted(n).accepted;
        }
    }

    pub(super) fn accepted(&mut self, serial: u64) {
        self.accepted = self.accepted << 1 | 1;
        if let Some(lower) = self.highest.iter().position(|&other| other < serial) {
            self.highest[lower..].rotate_right(1);
            self.highest[lower] = serial;
        }
    }

    /// Whether a refusal is at least the second in a row of its request, while all others were accepted.
    ///
    /// A delay that is named is everybody's news if anybody else was refused meanwhile (law L7). Where none
    /// is, those do not count whose trouble is their own, too.
    pub(super) fn only_refuses(&self, earlier: &Setback, is_named: bool) -> bool {
        let (alone, newest) = if is_named {
            (self.refused == earlier.refused, earlier.newest)
        } else {
            (self.shared == earlier.shared, earlier.newest_at_first)
        };
        alone && self.highest[OTHERS - 1] > newest
    }

    /// Takes in a refusal. `explained` is whether a limit that is in use, or being tried, explains it.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        earlier: Option<&Setback>,
        explained: bool,
        sent: &Sent<'_>,
    ) -> Setback {
        let accepted = (self.accepted & ((1 << LAST) - 1)).count_ones();
        let is_own = match earlier {
            Some(earlier) => self.only_refuses(earlier, refusal.retry_after.is_some()),
            None => !explained && refusal.names_nothing() && accepted >= MOST,
        };
        let row = earlier.filter(|earlier| earlier.shared == self.shared);
        let before = earlier.map_or(0, |earlier| earlier.own);
        let own = if is_own { before.saturating_add(1) } else { 0 };
        self.accepted <<= 1;
        self.refused += 1;
        self.shared += u64::from(!is_own);
        Setback {
            newest: sent.newest,
            newest_at_first: row.map_or(sent.newest, |earlier| earlier.newest_at_first),
            refused: self.refused,
            shared: self.shared,
            own,
        }
    }
}

impl Setback {
    /// For how long the request waits, if the trouble is its own: never less than its answer asks for.
    pub(crate) fn own_wait(&self, refusal: &Refusal) -> Option<Span> {
        let doublings = self.own.checked_sub(1)?;
        let longest = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let step = FIRST.times(longest).min(LONGEST);
        let own = step.plus(step.part(JITTER * refusal.random)).min(LONGEST);
        Some(own.max(refusal.asked().unwrap_or(Span::ZERO)))
    }
}

impl Refusal {
    /// Neither a delay nor a limit.
    fn names_nothing(&self) -> bool {
        let limit = matches!(self.kind, RefusalKind::Concurrency(Some(_)));
        self.retry_after.is_none() && self.rate.is_none() && !limit
    }
}

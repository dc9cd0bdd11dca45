//! A limit that is guessed, from what was refused and what was not.

use super::news::Sent;

/// How many clean rounds precede the first attempt at more. Twice as many after each failure ...
const FIRST_PATIENCE: u32 = 2;
/// ... up to this: a rise of the limit shall be found within 60 periods, and of limits from 2 on at
/// most one request in a hundred shall be refused for trying.
const LAST_PATIENCE: u32 = 48;

/// A limit that is guessed: lowered by refusals, raised by trying.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    pub(super) value: u32,
    /// The server said so itself.
    pub(super) named: bool,
    /// Requests up to this number belong to the wave that set the value.
    pub(super) wave: u64,
    /// How many of that wave have not been refused.
    accepted: u32,
    /// Only the answers to later requests tell about the present value.
    since: u64,
    pub(super) successes: u32,
    /// How many rounds of successes it takes until more is tried.
    patience: u32,
    failures: u32,
    /// By how much it was last raised; 0 since the last wave.
    pub(super) raise: u32,
}

impl Estimate {
    /// Of a wave of `sent` requests one has been refused, and perhaps the limit named.
    pub(super) fn new(sent: u32, named: Option<u32>, wave: u64) -> Self {
        let mut estimate = Self {
            value: u32::MAX,
            named: false,
            wave,
            accepted: sent,
            since: wave,
            successes: 0,
            patience: FIRST_PATIENCE,
            failures: 0,
            raise: 0,
        };
        estimate.refused_one(named);
        estimate
    }

    /// As a success named it, before any refusal.
    pub(super) fn named(value: u32) -> Self {
        Self {
            value,
            named: true,
            ..Self::new(0, None, 0)
        }
    }

    /// What was accepted of a wave is what was sent without what was refused. That is known only
    /// once all its answers are there, in whatever order they come; until then it counts down. It
    /// can be less than the limit that is named: strangers may have the rest.
    pub(super) fn refused(&mut self, sent: &Sent<'_>, believed: u32, named: Option<u32>) {
        if sent.serial > self.wave {
            let failures = self.failures + u32::from(self.raise > 0);
            *self = Self {
                failures,
                patience: LAST_PATIENCE.min(FIRST_PATIENCE << failures.min(LAST_PATIENCE.ilog2())),
                ..Self::new(believed.min(self.value), named, sent.newest)
            };
        } else {
            self.refused_one(named);
        }
    }

    fn refused_one(&mut self, named: Option<u32>) {
        self.accepted = self.accepted.saturating_sub(1);
        let named = named.unwrap_or(u32::MAX);
        self.named = named <= self.accepted;
        self.value = self.accepted.min(named).max(1);
    }

    /// A round of successes is as many as the value. After enough rounds it is raised by one, then
    /// by twice as much after each round that was clean too. Only those count that were sent while
    /// the limit was `in_use`: the others would have succeeded under any.
    pub(super) fn succeeded(&mut self, sent: &Sent<'_>, in_use: u32) {
        if sent.serial <= self.since || in_use < self.value {
            return;
        }
        self.successes += 1;
        if self.successes < self.value.saturating_mul(self.patience) {
            return;
        }
        if self.raise > 0 {
            // The last raise has held: the limit is somewhere else than it was.
            self.failures = 0;
        }
        self.raise = self.raise.saturating_mul(2).max(1);
        self.value = self.value.saturating_add(self.raise);
        self.named = false;
        self.successes = 0;
        self.patience = 1;
        self.since = sent.newest;
    }
}

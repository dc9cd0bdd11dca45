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
    /// What it was before that wave, if it was anything.
    before: Option<u32>,
    /// Only the answers to later requests tell about the present value.
    since: u64,
    pub(super) successes: u32,
    /// How many rounds of successes it takes until more is tried.
    pub(super) patience: u32,
    pub(super) failures: u32,
    /// By how much it was last raised; 0 since the last wave.
    pub(super) raise: u32,
    pub(super) evidence: Evidence,
}

/// Whether a limit explains what is refused: if it does, a smaller share is refused under it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    before: Answers,
    since: Answers,
    /// Of how many waves some were refused since, and the last request of the last of them.
    waves: u32,
    wave: u64,
    /// How many were refused in a row.
    row: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    refused: u32,
    accepted: u32,
}

impl Answers {
    fn all(self) -> u64 {
        u64::from(self.refused) + u64::from(self.accepted)
    }
}

/// So many refusals, of so many answers, refute a limit if their share is larger than this part of the share that
/// was refused without it.
struct Proof {
    refusals: u32,
    answers: u64,
    part: (u64, u64),
}

const PROOF: Proof = Proof {
    refusals: 3,
    answers: 4,
    part: (2, 3),
};

/// Where a lesson was wrong before.
const PROOF_AFTER_ERROR: Proof = Proof {
    refusals: 2,
    answers: 3,
    part: (1, 2),
};

/// So many refusals in a row refute the lowest limit.
const ROW: u32 = 3;

impl Evidence {
    /// A refusal under the limit, which it does not explain.
    pub(super) fn contradict(&mut self, sent: &Sent<'_>) {
        self.since.refused = self.since.refused.saturating_add(1);
        self.row = self.row.saturating_add(1);
        if sent.serial > self.wave {
            self.wave = sent.newest;
            self.waves = self.waves.saturating_add(1);
        }
    }

    /// Whether about as many are refused as without the limit. One refusal tells little, and is refuted by another
    /// one.
    pub(super) fn refutes(&self, has_erred: bool) -> bool {
        let Self { before, since, .. } = *self;
        let proof = if has_erred { PROOF_AFTER_ERROR } else { PROOF };
        let is_telling = since.refused >= proof.refusals && since.all() >= proof.answers;
        let (part, of) = proof.part;
        let is_larger = of * u64::from(since.refused) * before.all()
            > part * u64::from(before.refused) * since.all();
        // A wave of which nothing was accepted has another reason than any limit, but not every wave.
        (since.accepted > 0 || self.waves >= proof.refusals)
            && (self.is_of_one() && since.refused > 0 || is_telling && is_larger)
    }

    /// Whether so many were refused in a row that a limit of one does not explain it: there is no lower one.
    pub(super) fn refutes_one(&self) -> bool {
        self.row >= ROW
    }

    /// So many had been refused when the limit was guessed.
    pub(super) fn weigh(&mut self, refused: u32) {
        self.before.refused = self.before.refused.max(refused);
    }

    /// Whether the limit comes from a single refusal.
    pub(super) fn is_of_one(&self) -> bool {
        self.before.refused <= 1
    }
}

impl Estimate {
    /// Of a wave of `sent` requests one has been refused, and perhaps the limit named.
    pub(super) fn new(sent: u32, named: Option<u32>, wave: u64) -> Self {
        let mut estimate = Self {
            value: u32::MAX,
            named: false,
            wave,
            accepted: sent,
            before: None,
            since: wave,
            successes: 0,
            patience: FIRST_PATIENCE,
            failures: 0,
            raise: 0,
            evidence: Evidence::default(),
        };
        estimate.evidence.before.accepted = sent;
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
            let before = self.value.saturating_sub(self.raise).max(1);
            *self = Self {
                failures,
                before: Some(before),
                patience: patience_after(failures),
                ..Self::new(believed.min(self.value), named, sent.newest)
            };
        } else {
            self.refused_one(named);
        }
    }

    pub(super) fn refused_one(&mut self, named: Option<u32>) {
        self.accepted = self.accepted.saturating_sub(1);
        let before = &mut self.evidence.before;
        before.refused = before.refused.saturating_add(1);
        before.accepted = before.accepted.saturating_sub(1);
        let named = named.unwrap_or(u32::MAX);
        self.named = named <= self.accepted;
        self.value = self.accepted.min(named).max(1);
    }

    /// Whether it was guessed from a wave, and from no other before.
    pub(super) fn is_first_of(&self, wave: u64) -> bool {
        self.wave == wave && self.before.is_none() && !self.named && self.raise == 0
    }

    /// Nothing of the wave was accepted, which tells no limit. `false` if there was none before it either.
    pub(super) fn stands(&mut self) -> bool {
        if self.accepted > 0 {
            return true;
        }
        self.value = self.before.unwrap_or(self.value);
        self.before.is_some()
    }

    /// The refusals that are heard of now have another explanation: the limit stays as it is.
    pub(super) fn excuse(&mut self, newest: u64) {
        self.wave = newest;
        self.since = newest;
        self.successes = 0;
        self.raise = 0;
        self.before = Some(self.value);
    }

    /// Something beyond the limit was tried, and refused.
    pub(super) fn fail(&mut self, newest: u64) {
        self.excuse(newest);
        self.failures += 1;
        self.patience = patience_after(self.failures);
    }

    /// A round of successes is as many as the value. After enough rounds it is time for a raise. Only those
    /// count that were sent while the limit was `in_use`: the others would have succeeded under any.
    pub(super) fn succeeded(&mut self, sent: &Sent<'_>, in_use: u32) {
        if sent.serial > self.wave {
            let since = &mut self.evidence.since;
            since.accepted = since.accepted.saturating_add(1);
            self.evidence.row = 0;
        }
        if sent.serial > self.since && in_use >= self.value {
            self.successes = self.successes.saturating_add(1);
        }
    }

    /// Whether there were enough rounds.
    pub(super) fn is_due(&self) -> bool {
        self.successes >= self.value.saturating_mul(self.patience)
    }

    /// By how much it is raised next: by one at first, and then by twice as much after each round that was
    /// clean too.
    pub(super) fn next_raise(&self) -> u32 {
        self.raise.saturating_mul(2).max(1)
    }

    pub(super) fn raise(&mut self, newest: u64) {
        if self.raise > 0 {
            // The last raise has held: the limit is somewhere else than it was.
            self.failures = 0;
        }
        self.raise = self.next_raise();
        self.value = self.value.saturating_add(self.raise);
        self.named = false;
        self.successes = 0;
        self.patience = 1;
        self.since = newest;
    }
}

fn patience_after(failures: u32) -> u32 {
    LAST_PATIENCE.min(FIRST_PATIENCE << failures.min(LAST_PATIENCE.ilog2()))
}

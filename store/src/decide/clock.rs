//! One clock that never goes back, made of one that may step.

use crate::protocol::{Micros, Since};

/// A member's time and the store's may differ by this much, and a thousandth of what has passed, before the store
/// believes the member: a call's way takes as long as it takes, and clocks are slewed.
const TOLERATED: Micros = 1_000_000;

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Clock {
    /// The last call's instant.
    last: Micros,
    /// That of the call before it.
    before: Micros,
    /// Whose call the last was. Its instant does not tell: after a step back several calls share one.
    caller: String,
    /// What is added to the machine's clock.
    off: Micros,
}

impl Clock {
    /// Now, from what the machine's clock says. After a step back it goes on from where it was.
    pub(super) fn read(&mut self, machine: Micros) -> Micros {
        let mut now = machine + self.off;
        if now < self.last {
            self.off += self.last - now;
            now = self.last;
        }
        self.before = self.last;
        self.last = now;
        now
    }

    /// Now, after a look at the own time of the member `me` since its last call, which was at `then`.
    ///
    /// If more has passed here than there, the machine's clock was set forward. Then only this is sure: nothing has
    /// passed since the call before this one, or, if that was the member's own, what the member is sure of. That is
    /// [`Since::heard`] where the member knows the epoch, and 0 where it does not: what it heard may be an answer
    /// from before the store forgot, and the call that is remembered a late copy of the same. The clock is late from
    /// then on. It does not catch up: what was booked meanwhile would be free too early.
    pub(super) fn compare(&mut self, now: Micros, me: &str, then: Micros, since: Since) -> Micros {
        if now - then - since.sent <= TOLERATED + since.sent / 1000 {
            return now;
        }
        let sure = if self.caller == me { since.heard } else { 0 };
        let real = (self.before + sure).min(now);
        self.off += real - now;
        self.last = real;
        real
    }

    /// Notes whose call this is.
    pub(super) fn called_by(&mut self, me: &str) {
        me.clone_into(&mut self.caller);
    }
}

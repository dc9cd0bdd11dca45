use crate::protocol::{Micros, Scope, Window as Limit};

/// One way to configure a scope, and the members that have it so.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Definition {
    pub(super) windows: Vec<Limit>,
    pub(super) permits: Option<i64>,
    pub(super) learned_permits: Option<i64>,
    /// Until when each counts as alive.
    pub(super) speakers: Vec<(String, Micros)>,
}

impl Definition {
    pub(super) fn forget(&mut self, now: Micros) {
        self.speakers.retain(|(_, until)| *until >= now);
    }

    pub(super) fn is_over(&self, now: Micros) -> bool {
        self.speakers.iter().all(|(_, until)| *until < now)
    }

    pub(super) fn is_spoken_for(&self) -> bool {
        !self.speakers.is_empty()
    }

    pub(super) fn is(&self, scope: &Scope) -> bool {
        self.windows == scope.windows
            && self.permits == scope.permits
            && self.learned_permits == scope.learned_permits
    }
}

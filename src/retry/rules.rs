use std::sync::Arc;

use tokio::time::Instant;

use super::{backoff::Backoff, budget::Budget, clone_body::Bodies, policy::Policy};
use crate::{
    admission::Home,
    event::{EventKind, SharedObserver},
    signal::Classifier,
};

/// The settings of a layer, shared with its services.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) backoff: Backoff,
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) bodies: Bodies,
    pub(super) classifier: Classifier,
    pub(super) observer: Option<SharedObserver>,
    /// Whether each response says for how long all attempts were held back.
    pub(super) reports_waited: bool,
    /// The limiting layer whose own retries these are.
    pub(super) home: Option<Home>,
}

impl Rules {
    /// Whether the layer to which the retries belong is closed: it would refuse them.
    pub(super) fn is_closed(&self) -> bool {
        self.home.as_ref().is_some_and(Home::is_closed)
    }

    /// Tells the observer, if there is one, what was decided.
    pub(super) fn tell_observer(&self, (at, kind): (Instant, EventKind<'_>)) {
        if let Some(observer) = &self.observer {
            observer.tell_of_retry(at, kind);
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            backoff: Backoff::default(),
            budget: Some(Arc::new(Budget::default())),
            bodies: Bodies::default(),
            classifier: Classifier::default(),
            observer: None,
            reports_waited: false,
            home: None,
        }
    }
}

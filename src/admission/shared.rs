use std::{sync::Arc, time::Duration};

use super::{engine::Engine, home::Home};
use crate::{bucket::Enforced, costs::Pricing, endpoints::Endpoints, signal::Classifier};

/// What a layer shares with its services: the engine with a choice of what it enforces, and the layer's
/// settings. One pointer for all that a request needs until its body has ended.
///
/// Each copy has lines of the processor's cache to itself: beside it is the count of another.
#[derive(Clone, Debug)]
#[repr(align(128))]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) limits: WaitLimits,
    pub(crate) classifier: Classifier,
    pub(crate) pricing: Pricing,
    /// Whether each response says for how long its request was held back.
    pub(crate) reports_waited: bool,
}

/// For how long, and behind how many others, a request is prepared to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WaitLimits {
    pub(crate) max_waiting: Option<usize>,
    pub(crate) max_wait: Option<Duration>,
}

impl WaitLimits {
    pub(crate) fn allow(self, wait: Duration) -> bool {
        self.max_wait.is_none_or(|most| wait <= most)
    }
}

impl Shared {
    /// What the layer's own retries know of it.
    pub(crate) fn home(&self) -> Home {
        Home::new(&self.engine)
    }

    pub(crate) fn new(endpoints: &Endpoints, enforced: Enforced) -> Self {
        Self {
            engine: Engine::new(endpoints, enforced),
            limits: WaitLimits::default(),
            classifier: Classifier::default(),
            pricing: Pricing::default(),
            reports_waited: false,
        }
    }
}

//! Answers whose meaning was decided before their body had said all that could matter.

use std::sync::Arc;

use http::Response;

use crate::signal::{Classifier, Signal};

/// Marks an answer whose meaning was decided before all was there of its body that would have been
/// looked at. Layers that have acted on it can hear of the rest.
#[derive(Clone)]
pub(crate) struct Unfinished {
    pub(crate) classifier: Classifier,
    listeners: Vec<Arc<dyn Listen>>,
}

/// Who has acted on an answer whose body had yet to come.
pub(crate) trait Listen: Send + Sync {
    /// The body says more, or something else, than what was there of it.
    fn hear(&self, signal: &Signal);
}

impl Unfinished {
    pub(crate) fn new(classifier: Classifier) -> Self {
        Self {
            classifier,
            listeners: Vec::new(),
        }
    }

    /// Tells all of them.
    pub(crate) fn tell(&self, signal: &Signal) {
        for listener in &self.listeners {
            listener.hear(signal);
        }
    }

    pub(crate) fn add(&mut self, listener: Arc<dyn Listen>) {
        self.listeners.push(listener);
    }
}

/// Whether the meaning of an answer was decided before its body had said all that could matter.
pub(crate) fn is_unfinished<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Unfinished>().is_some()
}

use std::sync::Arc;

use super::{Engine, Grant, Patience};
use crate::{
    bucket::Face,
    endpoints::{Endpoints, UnknownEndpoint},
    signal::Classifier,
};

/// What the layers and services of all faces have: the engine with a choice of what it enforces, and
/// the layer's settings. One pointer for all that a request needs until its body has ended.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) engine: Arc<Engine>,
    pub(crate) patience: Patience,
    pub(crate) classifier: Classifier,
}

impl Setup {
    pub(crate) fn new(endpoints: &Endpoints, face: Face) -> Self {
        Self {
            engine: Arc::new(Engine::new(endpoints, face)),
            patience: Patience::default(),
            classifier: Classifier::default(),
        }
    }

    /// Admits a request at once, if every scope has room and nobody older waits.
    ///
    /// # Errors
    ///
    /// If the request names an endpoint that does not exist.
    #[inline]
    pub(crate) fn admit<B>(
        self: &Arc<Self>,
        request: &http::Request<B>,
    ) -> Result<Option<Grant>, UnknownEndpoint> {
        let taken = self.engine.admit(request)?;
        Ok(taken.map(|taken| Grant::new(Arc::clone(self), taken)))
    }
}

use std::{fmt, sync::Arc};

use http::Request;

use super::{priority::Priority, terms::Terms};
use crate::request_head::RequestHead;

/// How a layer knows which of the requests that wait goes first.
#[derive(Clone, Default)]
pub(crate) struct Ranking {
    priority_by: Option<Arc<PriorityBy>>,
}

type PriorityBy = dyn Fn(&RequestHead<'_>) -> Option<Priority> + Send + Sync;

impl Ranking {
    pub(crate) fn set_priority_by(
        &mut self,
        f: impl Fn(&RequestHead<'_>) -> Option<Priority> + Send + Sync + 'static,
    ) {
        self.priority_by = Some(Arc::new(f));
    }

    /// The class of a request: as its [`Terms`] state it, or as the layer says.
    pub(crate) fn priority_of<B>(&self, request: &Request<B>) -> Priority {
        let terms = request.extensions().get::<Terms>();
        let stated = terms.and_then(Terms::stated_priority);
        let by_layer = || self.priority_by.as_ref()?(&RequestHead::from(request));
        stated.or_else(by_layer).unwrap_or_default()
    }
}

impl fmt::Debug for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranking")
            .field("priority_by", &self.priority_by.is_some())
            .finish()
    }
}

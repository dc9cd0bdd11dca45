use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use http_body_util::{Empty, Full};

use super::{cost::Cost, settle::Settle, terms::Terms};
use crate::request_head::RequestHead;

/// How a layer knows what requests cost: before they are sent, and when they are answered.
#[derive(Clone, Default)]
pub(crate) struct Pricing {
    cost_by: Option<Arc<CostBy>>,
    settle: Option<Arc<dyn Settle>>,
    counts_throttled: bool,
}

type CostBy = dyn Fn(&RequestHead<'_>, Option<&[u8]>) -> Option<Cost> + Send + Sync;

impl Pricing {
    pub(crate) fn set_cost_by(
        &mut self,
        f: impl Fn(&RequestHead<'_>, Option<&[u8]>) -> Option<Cost> + Send + Sync + 'static,
    ) {
        self.cost_by = Some(Arc::new(f));
    }

    pub(crate) fn set_settle(&mut self, settle: impl Settle) {
        self.settle = Some(Arc::new(settle));
    }

    pub(crate) fn set_counts_throttled(&mut self) {
        self.counts_throttled = true;
    }

    pub(crate) fn settle(&self) -> Option<Arc<dyn Settle>> {
        self.settle.clone()
    }

    pub(crate) fn counts_throttled(&self) -> bool {
        self.counts_throttled
    }

    /// What a request states to take: its [`Terms`], and where they say nothing, the layer's closure.
    #[inline]
    pub(crate) fn cost_of<B: 'static>(&self, request: &Request<B>) -> Option<Box<Cost>> {
        if self.cost_by.is_none() && request.extensions().is_empty() {
            return None;
        }
        self.cost_of_other(request)
    }

    #[cold]
    #[inline(never)]
    fn cost_of_other<B: 'static>(&self, request: &Request<B>) -> Option<Box<Cost>> {
        let terms = request.extensions().get::<Terms>();
        let stated = terms.and_then(Terms::stated_cost);
        match &self.cost_by {
            None => stated.map(|stated| Box::new(stated.clone())),
            Some(cost_by) => by_closure(cost_by, request, stated),
        }
    }
}

fn by_closure<B: 'static>(
    cost_by: &Arc<CostBy>,
    request: &Request<B>,
    stated: Option<&Cost>,
) -> Option<Box<Cost>> {
    let body = in_memory(request.body());
    let cost = cost_by(&RequestHead::from(request), body.as_deref());
    match (cost, stated) {
        (Some(cost), Some(stated)) => Some(Box::new(cost.replaced_by(stated))),
        (cost, stated) => cost.or_else(|| stated.cloned()).map(Box::new),
    }
}

/// A body's bytes, where it is in memory in a type that is known.
fn in_memory<B: 'static>(body: &B) -> Option<Bytes> {
    let body = body as &dyn Any;
    let slice = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    body.downcast_ref::<Bytes>()
        .cloned()
        .or_else(|| body.downcast_ref::<Full<Bytes>>().map(of_full))
        .or_else(|| {
            body.downcast_ref::<String>()
                .map(|text| slice(text.as_bytes()))
        })
        .or_else(|| {
            body.downcast_ref::<&'static str>()
                .map(|text| Bytes::from_static(text.as_bytes()))
        })
        .or_else(|| body.downcast_ref::<Vec<u8>>().map(|bytes| slice(bytes)))
        .or_else(|| body.downcast_ref::<()>().map(|()| Bytes::new()))
        .or_else(|| body.downcast_ref::<Empty<Bytes>>().map(|_| Bytes::new()))
        .or_else(|| of_reqwest(body))
}

fn of_full(body: &Full<Bytes>) -> Bytes {
    let mut copy = body.clone();
    let mut context = Context::from_waker(Waker::noop());
    // It has one frame, and has it at once.
    match Pin::new(&mut copy).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

#[cfg(feature = "reqwest")]
fn of_reqwest(body: &dyn Any) -> Option<Bytes> {
    let body: &reqwest::Body = body.downcast_ref()?;
    Some(Bytes::copy_from_slice(body.as_bytes()?))
}

#[cfg(not(feature = "reqwest"))]
fn of_reqwest(_: &dyn Any) -> Option<Bytes> {
    None
}

impl fmt::Debug for Pricing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pricing")
            .field("cost_by", &self.cost_by.is_some())
            .field("settle_by", &self.settle.is_some())
            .field("counts_throttled", &self.counts_throttled)
            .finish()
    }
}

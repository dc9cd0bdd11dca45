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

use super::{cost::Cost, flow::Flow, priority::Priority, settle::Settle, terms::Terms};
use crate::request_head::RequestHead;

/// How a layer knows what requests ask for, and what they have cost when they are answered.
#[derive(Clone, Default)]
pub(crate) struct Pricing {
    cost_by: Option<Arc<CostBy>>,
    priority_by: Option<Arc<By<Priority>>>,
    flow_by: Option<Arc<By<Flow>>>,
    /// Whether there is any of these closures.
    asks_all: bool,
    settle: Option<Arc<dyn Settle>>,
    counts_throttled: bool,
}

/// What a request asks of the limits, where that is not what most ask.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asks {
    /// What it takes, as far as that is stated.
    pub(crate) cost: Option<Cost>,
    pub(crate) priority: Priority,
    pub(crate) flow: Option<Flow>,
}

type By<T> = dyn Fn(&RequestHead<'_>) -> Option<T> + Send + Sync;

type CostBy = dyn Fn(&RequestHead<'_>, Option<&[u8]>) -> Option<Cost> + Send + Sync;

impl Pricing {
    pub(crate) fn set_cost_by(
        &mut self,
        f: impl Fn(&RequestHead<'_>, Option<&[u8]>) -> Option<Cost> + Send + Sync + 'static,
    ) {
        self.cost_by = Some(Arc::new(f));
        self.asks_all = true;
    }

    pub(crate) fn set_priority_by(
        &mut self,
        f: impl Fn(&RequestHead<'_>) -> Option<Priority> + Send + Sync + 'static,
    ) {
        self.priority_by = Some(Arc::new(f));
        self.asks_all = true;
    }

    pub(crate) fn set_flow_by(
        &mut self,
        f: impl Fn(&RequestHead<'_>) -> Option<Flow> + Send + Sync + 'static,
    ) {
        self.flow_by = Some(Arc::new(f));
        self.asks_all = true;
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

    /// What a request asks for: as its [`Terms`] say, and where they say nothing, as the layer's closures do. Nothing for
    /// most.
    #[inline]
    pub(crate) fn asks_of<B: 'static>(&self, request: &Request<B>) -> Option<Box<Asks>> {
        if self.asks_all || !request.extensions().is_empty() {
            return self.asks_of_other(request);
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn asks_of_other<B: 'static>(&self, request: &Request<B>) -> Option<Box<Asks>> {
        let terms = request.extensions().get::<Terms>();
        let head = RequestHead::from(request);
        let stated = terms.and_then(Terms::stated_cost);
        let cost = match &self.cost_by {
            None => stated.cloned(),
            Some(cost_by) => by_closure(cost_by, request, stated),
        };
        let priority = terms.and_then(Terms::stated_priority);
        let priority = priority.or_else(|| self.priority_by.as_ref()?(&head));
        let flow = terms.and_then(Terms::stated_flow);
        let flow = flow.or_else(|| self.flow_by.as_ref()?(&head));
        let asks = Asks {
            cost,
            priority: priority.unwrap_or_default(),
            flow,
        };
        (asks != Asks::default()).then(|| Box::new(asks))
    }
}

fn by_closure<B: 'static>(
    cost_by: &Arc<CostBy>,
    request: &Request<B>,
    stated: Option<&Cost>,
) -> Option<Cost> {
    let body = in_memory(request.body());
    let cost = cost_by(&RequestHead::from(request), body.as_deref());
    match (cost, stated) {
        (Some(cost), Some(stated)) => Some(cost.replaced_by(stated)),
        (cost, stated) => cost.or_else(|| stated.cloned()),
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
            .field("priority_by", &self.priority_by.is_some())
            .field("flow_by", &self.flow_by.is_some())
            .field("settle_by", &self.settle.is_some())
            .field("counts_throttled", &self.counts_throttled)
            .finish_non_exhaustive()
    }
}

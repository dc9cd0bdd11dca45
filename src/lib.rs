//! Client-side rate and concurrency limits as tower layers.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod bucket;
mod endpoints;
mod error;
mod limit;
mod quota;
pub mod signal;

pub use admission::{BucketSnapshot, Deadline, Handle, Snapshot};
pub use endpoints::{EndpointName, Endpoints, InvalidEndpoint, RequestHead, UnknownEndpoint};
pub use error::{Refused, RefusedReason};
pub use limit::{
    Body, Concurrency, ConcurrencyLayer, ResponseFuture, Rps, RpsLayer, Throttle, ThrottleLayer,
};
pub use quota::{MAX_WINDOWS, Quota};

/// The error type of every layer here, as in tower.
pub use tower::BoxError;

#[cfg(feature = "mock")]
#[cfg_attr(docsrs, doc(cfg(feature = "mock")))]
pub mod mock;

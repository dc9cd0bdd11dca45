//! Client-side rate and concurrency limits as tower layers.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod quota;

pub use quota::{MAX_WINDOWS, Quota};

/// The error type of every layer here, as in tower.
pub use tower::BoxError;

#[cfg(feature = "mock")]
#[cfg_attr(docsrs, doc(cfg(feature = "mock")))]
pub mod mock;

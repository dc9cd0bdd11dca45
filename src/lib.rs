//! Client-side rate and concurrency limits as tower layers.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod quota;
pub mod signal;

pub use quota::{MAX_WINDOWS, Quota};

/// The error type of every layer here, as in tower.
pub use tower::BoxError;

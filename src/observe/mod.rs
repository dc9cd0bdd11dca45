//! The observers for logs and metrics: the only place that knows `tracing` and `metrics`.

#[cfg(feature = "metrics")]
mod gauges;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod labels;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod names;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
pub use self::tracing::Tracing;

//! Draws a run of a stack: each request is a bar, from its arrival to the end of its answer.
//!
//! A [`Timeline`] is both an observer and a layer. The observer hears what was decided, and the layer tells it whose
//! request it was decided about, since events carry no number of their request. Put the layer directly above the
//! limiting layer:
//!
//! ```
//! use timeline::{Heading, Timeline};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let timeline = Timeline::new();
//! let endpoints = Endpoints::new().overall(Quota::per_second(2));
//! let client = ServiceBuilder::new()
//!     .layer(timeline.layer())
//!     .layer(ThrottleLayer::new(endpoints).observe(timeline.clone()))
//!     .service(service_fn(async |_: http::Request<String>| {
//!         Ok::<_, BoxError>(http::Response::new(String::new()))
//!     }));
//!
//! for _ in 0..3 {
//!     let request = http::Request::get("/").body(String::new())?;
//!     client.clone().oneshot(request).await?;
//! }
//! let svg = timeline.svg(&Heading::new("Two per second", ["The third waits for its window."]));
//! assert!(svg.starts_with("<svg"));
//! # Ok(())
//! # }
//! ```
//!
//! An observer of your own goes beside it, as a pair: `observe((timeline.clone(), mine))`.

mod body;
mod current;
mod lane;
mod layer;
mod picture;
mod record;
pub mod story;
mod style;

pub use self::{
    body::Body,
    lane::{Lane, Outcome, Part, PartKind},
    layer::{Recorded, RecordedFuture, TimelineLayer},
    picture::Heading,
    record::Timeline,
};

//! A rate-limited API that judges its client.
//!
//! [`Judge`] is any API: endpoints, what each allows, and how long each works. It accepts what is
//! within its limits and refuses the rest, at once, as real APIs do; and it keeps score, so that a test
//! can ask afterwards what its client did. [`elevenlabs`] and [`llm`] are such APIs, ready-made.
//!
//! It shares no code with the limiters of `tower-throttle`, which has it as `tower_throttle::mock`: windows, paths and books
//! are its own, so that the judge cannot make the mistakes that it is there to find.
//!
//! # Rules
//!
//! 1. A request is judged when it *arrives*: in [`call`](tower_service::Service::call), or after the
//!    latency and jitter of its way, if there are any. Requests are judged one after another, and what
//!    the books say about their order and times is exact.
//! 2. A window of n per period is full if n requests have been accepted in the period up to now. It is
//!    half-open: a request exactly one period old no longer counts. Refused requests take no place.
//!    A window of another unit counts costs in place of requests: of what was accepted, when it arrived
//!    ([`Limit::units`]), or when its answer ended ([`Limit::units_at_end`]).
//! 3. A request is in flight from its arrival until the body of its answer has been read to its last
//!    byte (over a socket: until the connection has taken it to send), or has been dropped, or its client
//!    has gone away.
//! 4. Endpoints can share a limit, a [`Pool`]. A request has to be within its endpoint's limit and its
//!    pool's; it is accepted or refused in one decision, and counts in both.
//! 5. Where several limits are full, it is the concurrency that the request is refused by: that is the
//!    one that the API behind [`elevenlabs`] refuses by.
//! 6. With a [queue](JudgeBuilder::queue), requests above the concurrency wait for a slot, and are in
//!    flight from when they have it. Windows are not waited for.
//! 7. A request is *early* if it arrives before the time that the endpoint's latest `Retry-After` (or
//!    `retry-after-ms`) named, and was sent after that answer had been handed out. The judge knows what
//!    it sent, also where a hook of yours, or a [`Fault`], put the header there.
//! 8. Working times depend on the seed, the endpoint, and how many requests were accepted there before;
//!    on nothing else. [`Work::draws`] tells them in advance.
//! 9. Nothing goes wrong unless a test [schedules](Judge::fault) it. What a fault counts as, says
//!    [`Fault`].
//!
//! All times are tokio's, so tests run under its paused clock; so does the `Date` of the answers.
//!
//! # Example
//!
//! Ten requests at once, where four are allowed:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use futures_util::future::join_all;
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use tower::ServiceExt;
//! use tower_throttle_mock::{Judge, Limit, Work};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let api = Judge::builder()
//!     .route("POST /tts", Limit::concurrent(4), Work::fixed(Duration::from_secs(12)))
//!     .build();
//!
//! join_all((0..10).map(async |_| {
//!     let request = Request::post("/tts").body(Empty::<Bytes>::new()).unwrap();
//!     let answer = api.clone().oneshot(request).await.unwrap();
//!     answer.into_body().collect().await.unwrap();
//! }))
//! .await;
//!
//! let report = api.report();
//! assert_eq!(report.endpoint("POST /tts").accepted, 4);
//! assert_eq!(report.endpoint("POST /tts").refused_by_concurrency, 6);
//! println!("{report}");
//! # }
//! ```
//!
//! And for a client that has to keep to the rules, the last line of its test:
//! [`api.report().assert_compliant()`](Report::assert_compliant), which says what was done wrong, and when.

mod answer;
mod body;
mod books;
mod builder;
pub mod elevenlabs;
mod faults;
mod hooks;
mod judge;
mod ledger;
mod limit;
pub mod llm;
mod path;
mod pool;
mod refusal;
mod refused_by;
mod report;
mod retry_after;
mod server;
mod service;
mod state;
mod unit_report;
mod units;
mod upload;
mod violation;
mod visit;
mod work;

pub use self::{
    answer::Answer,
    body::Body,
    builder::JudgeBuilder,
    faults::Fault,
    limit::Limit,
    pool::Pool,
    refusal::Refusal,
    refused_by::RefusedBy,
    report::{EndpointReport, Record, Report, Verdict},
    server::{bind, bind_to},
    service::ResponseFuture,
    state::{Judge, Received},
    unit_report::{UnitReport, WindowUse},
    violation::Violation,
    work::{Draws, Work},
};

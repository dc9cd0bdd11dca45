//! Client-side rate and concurrency limits as tower layers.
//!
//! An API that is rate-limited refuses what exceeds its limits. The layers here wrap the client, any
//! `Service<http::Request<B>>`, and hold each request back until every limit that applies to it has
//! room: in order, per endpoint, without polling, and not a timer tick longer than needed.
//!
//! This page takes ten minutes. The [guides](#guides) go further.
//!
//! # The six lines
//!
//! [`Endpoints`] say what the API allows, a layer keeps to it, and the client goes below. Five requests, two per
//! second:
//!
//! ```
//! use tokio::time::Instant;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! # let http_client = tower::service_fn(async |_: http::Request<String>| {
//! #     Ok::<_, BoxError>(http::Response::new(String::new()))
//! # });
//! let endpoints = Endpoints::new()
//!     .route("GET /v1/books/{title}", Quota::per_second(2).concurrency(4));
//! let mut client = ServiceBuilder::new()
//!     .layer(ThrottleLayer::new(endpoints))
//!     .service(http_client);
//!
//! let start = Instant::now();
//! let mut seconds = Vec::new();
//! for title in ["emma", "ulysses", "momo", "dracula", "heidi"] {
//!     let request = http::Request::get(format!("/v1/books/{title}")).body(String::new())?;
//!     let _response = client.ready().await?.call(request).await?;
//!     seconds.push(start.elapsed().as_secs());
//! }
//! assert_eq!(seconds, [0, 0, 1, 1, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! **Make the stack once, and clone it.** The limits' state lives in the layer. All services that it makes share it,
//! and so do all clones of the layer and of the services. Two layers made from the same [`Endpoints`] share nothing.
//! Nothing needs a runtime when it is built.
//!
//! # When a limit is reached
//!
//! The request waits, in its response future: the service is always ready, since which limits count is known only
//! once the request is there. Requests to one endpoint go in the order in which they came. A request goes at the first
//! tick of tokio's timer at which all its limits have room. While it waits it holds nothing: a full endpoint delays
//! nobody who does not need it.
//!
//! A window is exact: at most n dispatches in *any* interval of the period's length. So n requests go at once, and the
//! next when the first of them is one period old. For an even pace write `Quota::per(1, ...)`.
//!
//! # Which layer
//!
//! - [`ThrottleLayer`] enforces windows and concurrency, in one decision, and retries what is throttled
//!   all the same, or fails. Take this one, unless one of the others is all you need.
//! - [`RpsLayer`] enforces the windows only: at most n dispatches, or n tokens, in any interval of the period's length.
//! - [`ConcurrencyLayer`] enforces the concurrency only: at most n requests in flight, from dispatch
//!   until the response body has ended, failed or been dropped.
//! - [`RetryLayer`] retries only: see [`retry`].
//!
//! # Keys and scopes
//!
//! A request belongs to one endpoint, found by method, host and path; to that endpoint's group, if there is one; and to
//! `overall`. It goes when all of them have room, and counts in all of them. [`Endpoints`] has the rules of templates,
//! endpoints by name, and what becomes of paths that match nothing.
//!
//! ```
//! use std::time::Duration;
//! use tower_throttle::{Endpoints, Quota};
//!
//! const SPEAK: &str = "POST /v1/text-to-speech/{voice_id}";
//! const STREAM: &str = "POST /v1/text-to-speech/{voice_id}/stream";
//!
//! let endpoints = Endpoints::new()
//!     .route(SPEAK, Quota::per_second(5))
//!     .group("speech", Quota::concurrent(4), [SPEAK, STREAM]) // both together
//!     .route("api.other.example/v2/{*rest}", Quota::per(100, Duration::from_secs(120)))
//!     .all_other_paths(Quota::per_second(10))
//!     .overall(Quota::per_second(50)) // everything, on top of the narrower quotas
//!     .partition_by_header("xi-api-key"); // and all of it once for each API key
//! # let _ = endpoints;
//! ```
//!
//! A request that matches no template has no limit, unless `all_other_paths` or `each_other_path` gives it one. A
//! misspelt template is not noticed otherwise: a [snapshot](Handle::snapshot) shows such requests under
//! [`Endpoints::UNMATCHED`].
//!
//! # Bodies and permits
//!
//! A permit of the concurrency is held until the response *body* has ended, failed or been dropped, since that is how
//! long the server works. So read each body in the future of its call, or drop it: a `join_all` that keeps the
//! responses hangs ([`_troubleshooting`]).
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! # let http_client = tower::service_fn(async |_: http::Request<String>| {
//! #     Ok::<_, BoxError>(http::Response::new(String::from("a page")))
//! # });
//! let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::concurrent(1)));
//! let client = ServiceBuilder::new().layer(layer).service(http_client);
//! let get = || http::Request::get("/pages").body(String::new()).unwrap();
//!
//! let first = client.clone().oneshot(get()).await?;
//! // `first` is open, so the next request waits, for as long as you let it.
//! let next = tokio::time::timeout(Duration::from_secs(60), client.clone().oneshot(get()));
//! assert!(next.await.is_err());
//!
//! drop(first); // or read it to its end
//! client.oneshot(get()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! For streams that stay open there is [`Quota::release_at_head`].
//!
//! # When the server refuses all the same
//!
//! A 429 (or a 503 or 529; [`signal`] says what is understood) is news for everyone at that endpoint:
//!
//! - The limiting layer *pauses* the bucket: for as long as the server asked and a little jitter, at most
//!   `max_pause`; for a back-off if it named no time; or until one of its own requests has ended, if
//!   there were too many at once. A request that has been admitted and not sent waits again.
//! - It *learns*, as far as [`Learning`] lets it, how many requests the server takes. A lesson only
//!   narrows what was configured, is given back while all goes well, and ends by itself.
//!   [`BucketSnapshot::learned`] shows it.
//! - The retrying layer *sends it again* when the time has come, as old as it was; above a limiting
//!   layer it waits in its old place. [`retry`] says what is retried. An answer that is not retried goes up as it came,
//!   with a [`Signal`](signal::Signal) among its extensions.
//!
#![cfg_attr(feature = "mock", doc = "```")]
#![cfg_attr(not(feature = "mock"), doc = "```ignore")]
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_throttle::{
//!     Attempts, BoxError, Endpoints, ThrottleLayer,
//!     mock::{Fault, Judge, Limit, Work},
//! };
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let api = Judge::builder().route("POST /tts", Limit::unlimited(), Work::none()).build();
//! api.fault(Fault::status(429).retry_after(Duration::from_secs(3)));
//! let layer = ThrottleLayer::new(Endpoints::new());
//! let client = ServiceBuilder::new().layer(layer).service(api);
//!
//! let start = tokio::time::Instant::now();
//! let request = http::Request::post("/tts").body(Full::<Bytes>::default())?;
//! let response = client.oneshot(request).await?;
//!
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.extensions().get::<Attempts>().unwrap().attempts(), 2);
//! assert!(start.elapsed() >= Duration::from_secs(3)); // never early
//! # Ok(())
//! # }
//! ```
//!
//! # What requests cost
//!
//! A window counts requests unless it is told another [`Unit`]: tokens, credits, points. What a request takes of it is
//! its [`Cost`]. That is estimated before the request is sent: by its [`Terms`], by the layer's `cost_by`, or else as
//! the average of earlier ones. It is *settled* when the answer says what it was: a [`Settle`] reads that, or the
//! [`Settlement`] on the answer is told. At each dispatch, what is known by then of the last period is at most what the
//! window allows. A request that needs more than a whole window is refused at once
//! ([`NeverFits`](RefusedReason::NeverFits)).
//!
//! ```
//! use tower_throttle::{Endpoints, ThrottleLayer, Usage, estimate_chat};
//!
//! let quota = "500/min, 30_000 tokens/min".parse()?;
//! let layer = ThrottleLayer::new(Endpoints::new().route("POST /v1/chat/completions", quota))
//!     .cost_by(estimate_chat)
//!     .settle_by(Usage::OPENAI);
//! # let _ = layer;
//! # Ok::<(), tower_throttle::InvalidQuota>(())
//! ```
//!
//! A cost may also be several requests or permits, or none. [`Quota::forecast`] tells how long a batch of requests takes.
//!
//! # Who goes first
//!
//! By default the oldest of those that wait at an endpoint. A [`Priority`] in the [`Terms`] of a request, or `priority_by`
//! of the layer, makes it one of a higher or a lower class: a person at a screen does not wait behind a nightly batch. A
//! higher class goes first, but for one part in eight of what is given out, which goes to lower classes while they
//! wait; `priority_floor` sets another part. A [`Flow`], or `flow_by`, says whose request it is: flows of one class share
//! what their endpoint gives out, so a tenant with a thousand requests takes no more than one with ten while both wait.
//!
//! ```
//! use tower_throttle::{Endpoints, Flow, Priority, Quota, ThrottleLayer};
//!
//! let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)))
//!     .priority_by(|head| head.headers().contains_key("x-batch").then_some(Priority::LOW))
//!     .flow_by(|head| head.headers().get("x-tenant").map(Flow::new))
//!     .max_waiting(1_000);
//! # let _ = layer;
//! ```
//!
//! [`_many_tenants`] goes on from here, and the README has measurements.
//!
//! With `max_waiting`, a request that finds too many waiting at its endpoint takes the place of the youngest of a lower
//! class there, which is refused.
//!
//! # Tenants
//!
//! Where each customer has limits of their own, [`Endpoints::partition_by_header`] or [`Endpoints::partition_by`] says
//! whose request it is, and [`Endpoints::tier`] gives those of a tier other quotas. [`Snapshot::bucket_of`] finds a
//! customer's bucket by the value, which is hashed and never kept: how many of its requests wait, for what, and for how
//! long.
//!
//! # How long to wait
//!
//! For as long as it takes, by default. `max_waiting(n)` bounds the queue, `max_wait(duration)` the time in it, and the
//! extension [`Deadline`] the time of one request. A refusal is a [`Refused`] from the response future: at once if
//! windows and pauses tell that the turn comes too late, later if that turns out while it waits, or else when the time
//! has passed; never from `poll_ready`. It travels as a [`BoxError`], and [`Refused::in_error`] finds it under whatever
//! other layers have wrapped around it.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_throttle::{BoxError, Endpoints, Quota, Refused, RefusedReason, ThrottleLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! # let http_client = tower::service_fn(async |_: http::Request<String>| {
//! #     Ok::<_, BoxError>(http::Response::new(String::new()))
//! # });
//! let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_minute(1)))
//!     .max_wait(Duration::from_secs(10));
//! let client = ServiceBuilder::new().layer(layer).service(http_client);
//! let get = || http::Request::get("/").body(String::new()).unwrap();
//!
//! client.clone().oneshot(get()).await?;
//! let error = client.oneshot(get()).await.unwrap_err();
//! let refused = Refused::in_error(&error).expect("refused by the layer, and not by the server");
//! assert_eq!(refused.reason(), RefusedReason::WouldWaitTooLong);
//! assert_eq!(refused.retry_after(), Some(Duration::from_secs(60)));
//! # Ok(())
//! # }
//! ```
//!
//! # Which client
//!
//! Any that is a `Service<http::Request<B>>` and `Clone`; [`HttpService`] is one name for what a client asks that is
//! generic over it. [`_clients`] is a guide for hyper-util, reqwest,
//! tonic, octocrab and kube, and for axum apps that call upstream.
//!
//! # Seeing what it does
//!
//! [`Handle`], from `layer.handle()`, shows what each bucket is doing, changes quotas and pauses endpoints while
//! requests wait. An [`Observer`], given to a layer with
//! `observe`, gets an event for every decision as it is made: see [`EventKind`]. Two come with features: `Metrics` counts
//! with the `metrics` facade, and `Tracing` logs; [`_operating`] lists what, and says what to watch. With `report_waited`
//! each response says for how long its request was held back ([`Waited`]).
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_throttle::{Awaited, BoxError, Endpoints, Quota, ThrottleLayer, Unit};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! # let http_client = tower::service_fn(async |_: http::Request<String>| {
//! #     Ok::<_, BoxError>(http::Response::new(String::new()))
//! # });
//! let layer = ThrottleLayer::new(Endpoints::new().route("GET /a", Quota::per_second(2)));
//! let handle = layer.handle();
//! let client = ServiceBuilder::new().layer(layer).service(http_client);
//! for _ in 0..5 {
//!     tokio::spawn(client.clone().oneshot(http::Request::get("/a").body(String::new())?));
//! }
//! tokio::task::yield_now().await;
//!
//! let snapshot = handle.snapshot();
//! let bucket = snapshot.bucket("GET /a").unwrap();
//! assert_eq!((bucket.admitted(), bucket.waiting()), (2, 3));
//! assert_eq!(bucket.head().unwrap().awaits(), Awaited::Window(Unit::REQUESTS));
//! # Ok(())
//! # }
//! ```
//!
//! What all services of a layer share is set before the first of them is made (`max_keys`, `learn`, `max_pause`,
//! `observe`); later, `Handle` has setters for the first three. With the feature `serde`, all settings come from a file
//! (`config`).
//!
//! # Testing
//!
//! All times are tokio's, so a test under paused time runs at once and at exact instants. With the
//! feature `mock`, `tower_throttle::mock` has an API that refuses what exceeds its limits and keeps score
//! of its client. Ten segments of twelve seconds, three at a time, where the API allows four:
//!
#![cfg_attr(feature = "mock", doc = "```")]
#![cfg_attr(not(feature = "mock"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use futures_util::future::join_all;
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_throttle::{
//!     Endpoints, Quota, ThrottleLayer,
//!     mock::{Judge, Limit, Work},
//! };
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let api = Judge::builder()
//!     .route("POST /tts", Limit::concurrent(4), Work::fixed(Duration::from_secs(12)))
//!     .build();
//! let client = ServiceBuilder::new()
//!     .layer(ThrottleLayer::new(
//!         Endpoints::new().route("POST /tts", Quota::concurrent(3)),
//!     ))
//!     .service(api.clone());
//!
//! let start = tokio::time::Instant::now();
//! join_all((0..10).map(async |_| {
//!     let request = Request::post("/tts").body(Empty::<Bytes>::new()).unwrap();
//!     let answer = client.clone().oneshot(request).await.unwrap();
//!     answer.into_body().collect().await.unwrap();
//! }))
//! .await;
//!
//! assert_eq!(start.elapsed(), Duration::from_secs(48));
//! assert_eq!(api.report().endpoint("POST /tts").accepted, 10);
//! api.report().assert_compliant();
//! # }
//! ```
//!
#![doc = include_str!("COMPOSITION.md")]
//! # Guides
//!
//! - [`_one_api`]: from the page on which an API states its limits to a client that keeps to them.
//! - [`_clients`]: the layers over hyper-util, reqwest, tonic, octocrab and kube, and in axum apps.
//! - [`_many_tenants`]: quotas for each tenant, fair shares of one quota, and who goes first.
//! - [`_language_models`]: limits in tokens and credits, for OpenAI, Anthropic, Gemini and ElevenLabs.
//! - [`_operating`]: metrics, logs, alerts, and settings from a file.
//! - [`_testing`]: paused time, the judge, faults, and properties.
//! - [`_troubleshooting`]: what to look at when it hangs, is slow, refuses, or is refused.
//! - [`_coming_from`]: governor, tower's own limits, reqwest-retry, tower-resilience, throttle-net and Bottleneck.
//!
//! # Features
//!
//! - `decompress`: the bodies of refusals, and of answers that say what they cost, are read though they are compressed
//!   (`gzip`, `deflate`), for clients that hand them up as they came.
//! - `elevenlabs`: what the ElevenLabs API allows, by plan, and endpoints made from it.
//! - `mock`: the judge, and mocks of ElevenLabs, OpenAI and Anthropic made with it. For tests.
//! - `hyper-client`: [`retry`] understands the errors of hyper, hyper-util's client and HTTP/2.
//! - `reqwest`: reqwest's client below the layers, and its types above them. Includes `hyper-client`.
//! - `tower-retry`: the decisions of [`RetryLayer`] as a policy for tower's own retry layer.
//! - `metrics`: `Metrics`, an observer that counts with the `metrics` facade.
//! - `tracing`: `Tracing`, an observer that logs with `tracing`.
//! - `redis`: `store::RedisStore`, by which processes share their limits.
//! - `file`: `store::FileStore`, by which windows survive a restart.
//! - `serde`: `config`, the settings of a layer from TOML, JSON or YAML, and quotas as texts.
//! - `full`: all of them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod body;
mod bucket;
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub mod config;
mod costs;
mod endpoints;
mod error;
mod event;
mod http_service;
#[cfg(feature = "reqwest")]
mod in_memory;
mod late;
mod limit;
mod observe;
mod peek;
mod per_thread;
mod quota;
mod request_head;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub mod reqwest;
pub mod retry;
pub mod signal;
mod steps;
pub mod store;
mod waited;

pub use admission::{
    Admission, Awaited, BucketSnapshot, CannotReload, Deadline, Handle, Permit, QueueHead,
    Settlement, Snapshot, UnknownUnit, WindowUse,
};
pub use body::Body;
pub use bucket::{Learned, LearnedFrom, Learning};
pub use costs::{
    AnswerHead, Cost, Flow, Priority, Settle, SettleBody, Terms, Unit, Usage, estimate_chat,
};
pub use endpoints::{EndpointName, Endpoints, InvalidEndpoint, UnknownEndpoint};
pub use error::{Refused, RefusedReason};
pub use event::{Event, EventKind, Observer, PauseCause};
pub use http_service::HttpService;
pub use limit::{
    Concurrency, ConcurrencyLayer, ResponseFuture, Rps, RpsLayer, Throttle, ThrottleFuture,
    ThrottleLayer,
};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use observe::Metrics;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use observe::Tracing;
pub use quota::{Forecast, InvalidQuota, MAX_WINDOWS, Quota, QuotaLimit, Window};
pub use request_head::RequestHead;
pub use retry::{Attempt, Attempts, Backoff, Budget, Idempotent, ReplayBody, Retry, RetryLayer};
pub use waited::Waited;

/// The error type of every layer here, as in tower.
pub use tower::BoxError;

#[cfg(feature = "elevenlabs")]
#[cfg_attr(docsrs, doc(cfg(feature = "elevenlabs")))]
pub mod elevenlabs;

#[cfg(feature = "mock")]
#[cfg_attr(docsrs, doc(cfg(feature = "mock")))]
#[doc(inline)]
pub use tower_throttle_mock as mock;

// In the files under docs/, links between guides lead to files. `guide_links.md` comes first here, and of two
// definitions of a link the first one counts: so here they lead to modules.

// Compiled by the package `tests/interop`: for that, this one would have to depend on every client.
#[cfg_attr(not(doctest), doc = include_str!("../docs/clients.md"))]
#[cfg_attr(doctest, doc = "A guide, and no code.")]
pub mod _clients {}

// Its last example runs before the mock.
#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[cfg_attr(
    any(feature = "mock", not(doctest)),
    doc = include_str!("../docs/language-models.md")
)]
#[cfg_attr(all(doctest, not(feature = "mock")), doc = "A guide.")]
pub mod _language_models {}

// Its examples need the observers.
#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[cfg_attr(
    any(all(feature = "metrics", feature = "tracing"), not(doctest)),
    doc = include_str!("../docs/operating.md")
)]
#[cfg_attr(
    all(doctest, not(all(feature = "metrics", feature = "tracing"))),
    doc = "A guide."
)]
pub mod _operating {}

#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[cfg_attr(any(feature = "mock", not(doctest)), doc = include_str!("../docs/one-api.md"))]
pub mod _one_api {}

#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[cfg_attr(any(feature = "mock", not(doctest)), doc = include_str!("../docs/many-tenants.md"))]
pub mod _many_tenants {}

#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[cfg_attr(any(feature = "mock", not(doctest)), doc = include_str!("../docs/testing.md"))]
pub mod _testing {}

#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[cfg_attr(any(feature = "mock", not(doctest)), doc = include_str!("../docs/troubleshooting.md"))]
pub mod _troubleshooting {}

#[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
#[doc = include_str!("../docs/coming-from.md")]
pub mod _coming_from {}

/// The README's example has to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

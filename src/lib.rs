//! Client-side rate and concurrency limits as tower layers.
//!
//! An API that is rate-limited refuses what exceeds its limits. The layers here wrap the client, any
//! `Service<http::Request<B>>`, and hold each request back until every limit that applies to it has
//! room: in order, per endpoint, without polling, and not a timer tick longer than needed. What the
//! limits are is said in [`Endpoints`] and [`Quota`]; where a request has to wait, its response future
//! does.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, service_fn};
//! use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer};
//!
//! let endpoints = Endpoints::new()
//!     .route("POST /v1/text-to-speech/{voice_id}", Quota::per_second(5).concurrency(4))
//!     .route("api.other.example/v2/{*rest}", Quota::per(100, Duration::from_secs(120)))
//!     .overall(Quota::per_second(50));
//!
//! # let http_client = service_fn(|_: http::Request<String>| async {
//! #     Ok::<_, BoxError>(http::Response::new(String::new()))
//! # });
//! let client = ServiceBuilder::new()
//!     .layer(ThrottleLayer::new(endpoints))
//!     .service(http_client);
//! # let _ = client;
//! ```
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
//! The limits' state lives in the layer. All services that it makes share it, and so do all clones of
//! the layer and of the services; two layers made from the same [`Endpoints`] share nothing. Nothing
//! needs a runtime when it is built.
//!
//! [`Handle`], from `layer.handle()`, shows what each bucket is doing, changes quotas and pauses endpoints while
//! requests wait, and admits [what is no request](#what-is-no-tower-service). An [`Observer`], given to a layer with
//! `observe`, gets an event for every decision as it is made: see [`EventKind`]. Two come with features: `Metrics` counts
//! with the `metrics` facade, and `Tracing` logs; [`_operating`] lists what, and says what to watch. With `report_waited`
//! each response says for how long its request was held back ([`Waited`]). With the feature `serde`, all settings come
//! from a file (`config`). What all services of a layer share
//! is set before the first of them is made (`max_keys`, `learn`, `max_pause`, `observe`); later, `Handle` has setters
//! for the first three.
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
//!   layer it waits in its old place. See [`retry`]. An answer that is not retried goes up as it came,
//!   with a [`Signal`](signal::Signal) among its extensions.
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
//! A cost may also be several requests or permits, or none. [`_language_models`] is a guide for the APIs of OpenAI,
//! Anthropic, Gemini and ElevenLabs. [`Quota::forecast`] tells how long a batch of requests takes.
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
//! Beside a batch of 1 000 at one request per 50 ms, an interactive request waits for 0.04 s in the median and a quarter of
//! a second at worst; by age it would be 31 s and 50 s. The README has the measurements, and `docs/priority.svg` shows them.
//!
//! With `max_waiting`, a request that finds too many waiting at its endpoint takes the place of the youngest of a lower
//! class there, which is refused.
//!
//! # How long to wait
//!
//! For as long as it takes, by default. `max_waiting(n)` bounds the queue, `max_wait(duration)` the time in it, and the
//! extension [`Deadline`] the time of one request. A refusal is a [`Refused`] from the response future: at once if
//! windows and pauses tell that the turn comes too late, later if that turns out while it waits, or else when the time
//! has passed; never from `poll_ready`. It travels as a [`BoxError`], and [`Refused::in_error`] finds it under whatever
//! other layers have wrapped around it.
//!
//! # Which client
//!
//! Any that is a `Service<http::Request<B>>` and `Clone`. [`_clients`] is a guide for hyper-util, reqwest,
//! tonic, octocrab and kube, and for axum apps that call upstream.
//!
//! # What is no tower service
//!
//! An SDK with its own client, the messages of a websocket, a loop of commands: what does not go through a layer can
//! share its limits all the same. [`Handle::admit`] waits in the queues of the layer's services and gives an
//! [`Admission`], which becomes a [`Permit`] when the work begins. The permit is kept until the work has ended, and is
//! told if the server has [throttled](Permit::throttled) it. [`Handle::admit_again`] is for a retry, and
//! [`Handle::wait_for`] says how long the wait would be.
//!
//! ```
//! use tower_throttle::{BoxError, Endpoints, Quota, Terms, ThrottleLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let endpoints = Endpoints::new().named("speech", Quota::per_second(5).concurrency(4));
//! let handle = ThrottleLayer::new(endpoints).handle();
//!
//! let what = http::Request::builder().extension(Terms::new().endpoint("speech")).body(())?;
//! let permit = handle.admit(&what).await?.dispatched().await?;
//! // The SDK is called here.
//! drop(permit);
//! # Ok(())
//! # }
//! ```
//!
//! # Order by hand
//!
//! Where the simple layers are stacked, a request passes them from top to bottom. Retry is outermost, so
//! that every attempt is charged and none holds anything while it waits, and the rate limit innermost:
//!
//! ```
//! # use tower::{ServiceBuilder, service_fn};
//! # use tower_throttle::{BoxError, ConcurrencyLayer, Endpoints, Quota, RetryLayer, RpsLayer};
//! # let endpoints = Endpoints::new().overall(Quota::per_second(5).concurrency(4));
//! # let http_client = service_fn(|_: http::Request<String>| async {
//! #     Ok::<_, BoxError>(http::Response::new(String::new()))
//! # });
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::new())
//!     .layer(ConcurrencyLayer::new(endpoints.clone()))
//!     .layer(RpsLayer::new(endpoints))
//!     .service(http_client);
//! # let _ = client;
//! ```
//!
//! The other way round, requests are counted in a window, wait for a permit, and leave together later,
//! in a window that has not counted them. In the right order one fault remains: a request that waits for
//! its window holds its permit meanwhile. With an overall limit of four, four requests that wait for an
//! endpoint of one per minute stop every other endpoint. [`ThrottleLayer`] does not have it.
//!
//! # Composition
//!
//! - The layers are ready whenever the inner service is, since which endpoint a request needs is known
//!   only once it is there. What acts on readiness above them (`load_shed`, balancers, bounded buffers)
//!   sees no back-pressure from here: bound the queue with `max_waiting` or `max_wait`.
//! - The inner service has to be `Clone`: a request that waits does so with a clone, so as not to sit on
//!   what the readied instance has reserved. Below a client that is not, put tower's `BufferLayer`.
//! - A client that retries or follows redirects by itself sends requests that no limit has counted. Switch
//!   that off (for reqwest: `tower_throttle::reqwest::ReqwestService::build` does), or leave room for it.
//! - Timeouts go above to include the wait, below to exclude it.
//! - The request's body can be of any type that is `'static`. The layers know some types whose bytes are in memory: those
//!   are sent again by [retries](retry), and seen by `cost_by`.
//! - The error type is [`BoxError`]; an inner error passes through as it came. The response body is
//!   [`Body`], which holds the permit and forwards everything else.
//! - A response future that waits may be kept and not polled, in a `select!` loop or a `buffered` stream. It
//!   delays the requests behind it once, by at most 10 ms; when it is polled again, it goes before all that came later.
//! - A response body that is kept and not read holds its permit, and so does a future that has been dispatched
//!   and is not polled. `join_all` over more calls than may be in flight at once, with their bodies read
//!   afterwards, hangs: read each body in the future of its call. An [`Observer`] is told of a body that has been open
//!   for 30 s while others waited for its permit ([`EventKind::BodyOpen`]); a snapshot says what a queue waits for
//!   ([`BucketSnapshot::head`]) and how many bodies are open ([`BucketSnapshot::open_bodies`]).
//! - A request that waits for a time needs a tokio runtime with timers. Without one it fails with an error. A layer
//!   may be shared by several runtimes, at once or one after the other.
//! - If the compiler cannot tell that a future over a boxed service is `Send` (`oneshot` within
//!   `tokio::spawn`, for example), box the whole stack: `BoxCloneSyncService::new(client)`.
//!
//! # Cancellation
//!
//! Everything here is safe to drop. A request that waits leaves its queue and costs no slot. One
//! that was admitted and has not been sent gives its places back to the next in line. One that has been
//! sent has been sent: it stays counted in its windows, as it was estimated, and its permit ends. Dropping the response
//! body ends the permit, too. For a server that works on for a while, [`Quota::grace`] keeps the permit so long. A panic
//! of the inner service leaks nothing. A [`Permit`] cannot know whether its caller has done its work or was cancelled:
//! it counts as accepted, unless it was told otherwise.
//!
//! # Stopping
//!
//! [`Handle::close`] refuses everyone who waits and everyone who comes later ([`Closed`](RefusedReason::Closed)), retries
//! too, and dispatches nothing any more. What has been dispatched goes on, and its answer goes up without a retry.
//! [`Handle::drain`] closes, and waits until no response future and no body of the layer is under way: a process that
//! ends after that has cut nothing off, and knows of each request whether it was sent. With tokio's `timeout` around it,
//! [`Handle::snapshot`] names what it waited for. In a stack by hand drain the layers from top to bottom. The example
//! `shutdown` does this on Ctrl-C.
//!
//! ```
//! # use std::time::Duration;
//! # use tower_throttle::{Endpoints, ThrottleLayer};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! # let layer = ThrottleLayer::new(Endpoints::new());
//! let handle = layer.handle();
//! // ... a signal comes:
//! if tokio::time::timeout(Duration::from_secs(30), handle.drain()).await.is_err() {
//!     eprintln!("cut off: {:?}", handle.snapshot());
//! }
//! # }
//! ```
//!
//! # Jitter
//!
//! The limits are exact where requests leave; the server judges where they arrive. If the way takes
//! sometimes longer and sometimes shorter, requests that left a second apart may arrive closer together.
//! [`Quota::margin`] widens the windows by as much as the way can differ.
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
pub mod mock;

// Compiled by the package `tests/interop`: for that, this one would have to depend on every client.
#[cfg_attr(not(doctest), doc = include_str!("../docs/clients.md"))]
#[cfg_attr(doctest, doc = "A guide, and no code.")]
pub mod _clients {}

// Its last example runs before the mock.
#[cfg_attr(
    any(feature = "mock", not(doctest)),
    doc = include_str!("../docs/language-models.md")
)]
#[cfg_attr(all(doctest, not(feature = "mock")), doc = "A guide.")]
pub mod _language_models {}

// Its examples need the observers.
#[cfg_attr(
    any(all(feature = "metrics", feature = "tracing"), not(doctest)),
    doc = include_str!("../docs/operating.md")
)]
#[cfg_attr(
    all(doctest, not(all(feature = "metrics", feature = "tracing"))),
    doc = "A guide."
)]
pub mod _operating {}

/// The README's example has to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

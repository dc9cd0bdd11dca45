//! The tower side of the admission engine: three layers, one service.
//!
//! [`RpsLayer`], [`ConcurrencyLayer`] and [`ThrottleLayer`] are one engine with windows, permits or
//! both switched on.
//!
//! 1. A request is admitted when every scope that it belongs to has room, and no older request waits there.
//!    Otherwise its future waits.
//! 2. What is counted in the windows is the inner service's `call`. A permit lasts until the response
//!    body has ended, failed or been dropped.
//! 3. An answer that is a refusal pauses its bucket, for all requests that wait there, and may teach it
//!    ([`Learning`](crate::Learning)). To know what it means, up to 4 KiB of its body are read, for at
//!    most 250 ms, before it is handed up; they are replayed to the body's reader. A delay that is
//!    named in the head pauses before that.
//! 4. A request that has been admitted and not been dispatched when a pause begins returns to its place in the
//!    queue.
//! 5. A future that is not polled delays the others by at most 10 ms. A request that is offered its turn has
//!    10 ms to take it. After that, others may take it over; the request keeps its age, and goes before all
//!    that came later as soon as it is polled again. The same goes for an admitted request whose inner service
//!    is not ready in time.
//! 6. A layer that is closed ([`Handle::close`](crate::Handle::close)) refuses everyone who waits or comes. What has been
//!    dispatched goes on, and is not retried.
//!
//! # Order
//!
//! [`ThrottleLayer`] retries, too, and is the whole stack. By hand, the order is
//! `Retry -> Concurrency -> Rps -> client`, top to bottom. The rate limit is innermost, so that a
//! request is counted when it really goes out. The other way round, requests take their place in the
//! window, wait for a permit, and then leave together.
//!
//! A request that waits in `Rps` holds its permit of the `Concurrency` above it. Four requests to an
//! endpoint of one per minute so starve every other endpoint of an overall limit of four.
//! [`ThrottleLayer`] decides over both at once, and no request holds one while it waits for the other.
//!
//! # Cancellation
//!
//! Dropping a response future at any point gives back what it holds: a place in a queue, a place in a
//! window that was granted but not used, a permit. A request that was dispatched has been dispatched:
//! its stamp in the windows stays. Dropping the response body ends the permit.
//!
//! Over a real socket, a request that is dropped in flight is gone for us at once, but its server hears
//! of it only when the connection or the stream closes. With a concurrency limit that equals the
//! server's, the next request can get there first, and be refused: where requests are cancelled
//! often, leave a place free.
//!
//! # Composition
//!
//! All three are always ready if the inner service is: which endpoint a request goes to is known only
//! in `call`, so that is where it waits. Layers that act on readiness (`load_shed`, balancers, bounded
//! buffers) see no back-pressure from here; bound the queue with `max_waiting` or `max_wait`.
//!
//! A response future may be kept and not polled while it waits: it delays others once, by at most 10 ms. One that
//! has been dispatched holds its permit, and so does a response body that is kept and not read. `join_all` over
//! more calls than may be in flight at once, with their bodies read afterwards, never ends: the answered
//! calls hold the permits that the others wait for. Read each body in the future of its call.
//!
//! A request that waits for a time needs a tokio runtime with timers, any of which may drive it, and fails with an
//! error without a runtime. Waiting for another request to end needs no runtime.
//!
//! The inner service must be `Clone`: a request that has to wait does so with a fresh clone, so that
//! the readied service does not hold what it reserved. For a client that is not, put tower's
//! `BufferLayer` below.

mod answer;
mod future;
mod layer;
mod service;

mod throttle;

pub use self::{
    future::ResponseFuture,
    layer::{ConcurrencyLayer, RpsLayer},
    service::{Concurrency, Rps},
    throttle::{Throttle, ThrottleFuture, ThrottleLayer},
};

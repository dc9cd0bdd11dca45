//! The engine: which request may go, in which order, at which instant.
//!
//! One [`Engine`](engine::Engine) belongs to one layer and is shared by all of its services. It decides under
//! one lock (`docs/design/speed.md` says what was measured), and admits a request in all of its scopes in one step,
//! or not at all: no request holds a place in one scope while it waits for another.
//!
//! - [`core`]: everything behind the lock, and pure. [`detached`]: buckets that calls pass behind a lock of their own; [`attach`]:
//!   there and back.
//! - [`engine`]: the lock, the clock, wakers, the observer; [`timer`] wakes it.
//! - [`shared`]: the engine with a layer's settings: what a request keeps until its body has ended.
//! - [`settlement`]: what a request has cost, told by hand.
//! - [`acquire`]: the future's half of waiting. [`permit`]: what a dispatched request holds.
//! - [`door`]: the engine for what is no service.
//! - [`drain`]: closing, and waiting until nothing is under way.
//! - [`converse`]: with a store that decides with the layer; [`conversation`] has the data of it.
//! - [`handle`] and [`snapshot`]: watching and changing a layer while it runs. [`reload`]: giving it other endpoints.

mod acquire;
mod arrival;
mod aside;
mod attach;
mod clock;
mod closing;
mod conversation;
mod converse;
mod core;
mod deadline;
mod detached;
mod door;
mod drain;
mod engine;
mod handle;
mod hint;
mod home;
mod permit;
mod registry;
mod reload;
mod setbacks;
mod settlement;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;
mod timer;

pub(crate) use self::{
    acquire::{Acquire, Turn},
    arrival::Arrival,
    hint::RetryHint,
    home::{Away, Home},
    permit::InFlight,
    setbacks::Setbacks,
    shared::Shared,
};
pub use self::{
    core::Awaited,
    deadline::Deadline,
    door::{Admission, Permit},
    handle::Handle,
    reload::CannotReload,
    settlement::{Settlement, UnknownUnit},
    snapshot::{BucketSnapshot, QueueHead, Snapshot, WindowUse},
};

//! Shows in a terminal what a layer is doing: how full its windows are, what is in flight, who waits, what is paused,
//! what was learned, and the throttled answers of the last minute.
//!
//! The program watches a gateway by its status page, or drives itself. In a program of your own, give the layer a
//! [`Recent`] as its observer, and let [`terminal::show`] read the layer's handle:
//!
//! ```no_run
//! use std::future::pending;
//!
//! use tower_throttle::{Endpoints, Quota, ThrottleLayer};
//! use watch::{Recent, Stack, View, terminal};
//!
//! # async fn watch() -> std::io::Result<()> {
//! let recent = Recent::new();
//! let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)))
//!     .observe(recent.clone());
//! let handle = layer.handle();
//!
//! let look = || Ok(Stack::of(&handle.snapshot(), &recent));
//! terminal::show(View::new("my client"), look, pending()).await // until `q` is pressed
//! # }
//! ```
//!
//! A program that has a terminal view already takes [`View::draw`] alone, which draws into a frame of ratatui's.

pub mod attach;
pub mod demo;
mod lines;
pub mod options;
mod recent;
mod stack;
mod status;
pub mod terminal;
mod view;

pub use self::{
    recent::{News, Recent},
    stack::{Bucket, Head, Stack, Window},
    status::Status,
    view::View,
};

//! reqwest's client below the layers, and its types above them.
//!
//! - [`ReqwestService`] goes below the layers: `http` types in and out, over a `reqwest::Client`.
//! - [`into_response`] turns what comes out of the layers into a `reqwest::Response`.
//! - [`Client`] goes above the layers, and has `execute`: `reqwest::Request` in, `reqwest::Response` out.
//!   [`Client::build`] makes all three of a layer and of reqwest's settings.
//! - [`ThrottleExt`] lets a `reqwest::RequestBuilder` be sent `through` a client, with [`Terms`](crate::Terms).
//!
//! [`RetryLayer`](crate::RetryLayer) sends a `reqwest::Body` again if it is in memory (`json`, `form`, a string,
//! bytes), and once if it streams (`wrap`, `wrap_stream`, a file, `multipart`). What reqwest's errors tell
//! about a request is in [`retry`](crate::retry).
//!
//! # Order
//!
//! `Client` -> the layers -> `ReqwestService`. Both are optional: a stack that takes `http::Request`s needs no
//! `Client`, and reqwest's types can be had over hyper's client.
//!
//! # Features of reqwest
//!
//! This crate switches none of them on, and so brings no TLS. Name reqwest among your own dependencies,
//! with the TLS that you want (`rustls`, `native-tls`) and with whatever else you use (`http2`, `json`,
//! `stream`, `gzip`): cargo adds them up.
//!
//! # Cancellation
//!
//! Dropping a future or a response drops what is below, and the permit with it.

mod body;
mod client;
mod service;
mod stack;
mod through;

pub use self::{
    client::{Client, ClientFuture},
    service::{ReqwestService, ResponseFuture, into_response},
    stack::BoxedStack,
    through::{Prepared, ThrottleExt},
};

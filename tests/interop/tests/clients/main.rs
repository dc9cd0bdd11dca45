//! Each client through the layers, over sockets.
//!
//! In real time, so with no exact instants: nothing here waits for a time to pass, only for something to
//! happen, and not for ever.

mod axum;
mod kube;
mod octocrab;
mod reqwest;
mod reqwest_client;
mod reqwest_signatures;
mod streaming;
mod tonic;
mod transport;

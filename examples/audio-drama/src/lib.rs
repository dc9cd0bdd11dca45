//! Turns scripts into audio dramas: an HTTP service on top of tower-throttle.
//!
//! Everything but the command line, so that tests can get at it. The README says what it is for.

pub mod archive;
pub mod base_url;
pub mod config;
pub mod demo;
pub mod http_client;
pub mod limits;
pub mod mocks;
pub mod progress;
pub mod routes;
pub mod script;
pub mod server;
pub mod speech;
pub mod split;
pub mod studio;
pub mod three_ways;

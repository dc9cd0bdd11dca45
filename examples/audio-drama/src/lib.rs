//! Turns scripts into audio dramas.

pub mod split;

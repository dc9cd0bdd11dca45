//! Nobody in between.

use super::{Client, Contestant, Limits, Server};

/// Sends everything at once.
pub struct NoLimiter;

impl Contestant for NoLimiter {
    fn name(&self) -> String {
        "no limiter".to_owned()
    }

    fn client(&self, _: Limits, server: Server) -> Client {
        server
    }
}

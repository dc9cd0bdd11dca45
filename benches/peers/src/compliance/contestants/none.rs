//! Nobody in between.

use super::{ATTEMPTS, Budget, Budgeter, Client, Contestant, Limits, Server, backon::sent_again};

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

impl Budgeter for NoLimiter {
    fn name(&self) -> String {
        "no limiter".to_owned()
    }

    fn client(&self, _: Budget, server: Server) -> Client {
        sent_again(server, ATTEMPTS as usize - 1)
    }
}

//! What the server's errors mean for a user.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

const PERMISSIONS: &str = "the user lacks a permission (needed: EVALSHA, EVAL, SCRIPT LOAD, INFO, TIME, HMGET, HSET, \
                           HDEL, HSCAN, PEXPIRE, PUBLISH, SUBSCRIBE on tower-throttle:*)";

/// Says what is wrong, and what would mend it.
pub(super) fn explain(error: &RedisError) -> StoreError {
    let refused = |what: &str| StoreError::refused(format!("{what}: {error}"));
    match error.kind() {
        ErrorKind::InvalidClientConfig => {
            refused("no URL of a server (expected redis://[user:password@]host[:port][/db])")
        }
        ErrorKind::AuthenticationFailed => refused("the server refuses the user or the password"),
        ErrorKind::RESP3NotSupported => {
            refused("the server is too old (expected Redis 6.2 or later, or Valkey)")
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => refused(PERMISSIONS),
        // What a script is not allowed to call has no code.
        _ if error.to_string().contains("executing the script can't") => refused(PERMISSIONS),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            refused("another node of the cluster has the fleet's key: connect to that one")
        }
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly,
        )
        | ErrorKind::Io => StoreError::away(error.to_string()),
        _ if error.code() == Some("NOAUTH") || error.code() == Some("WRONGPASS") => {
            refused("the server wants another user or password")
        }
        _ if error.code() == Some("OOM") => {
            StoreError::away(format!("the server's memory is full: {error}"))
        }
        _ if error.is_timeout()
            || error.is_connection_dropped()
            || error.is_connection_refusal() =>
        {
            StoreError::away(error.to_string())
        }
        _ => refused("the server refuses the call"),
    }
}

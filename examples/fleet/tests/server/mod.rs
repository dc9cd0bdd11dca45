//! Whether there is a `redis-server`. Where public CI runs, there has to be one.

use std::process::Command;

pub(crate) fn is_there() -> bool {
    let has_server = Command::new("redis-server").arg("--version").output();
    if has_server.is_err() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "no redis-server: apt-get install redis-server"
        );
        eprintln!("skipped: there is no redis-server (apt-get install redis-server)");
    }
    has_server.is_ok()
}

//! The gateway, over real sockets, with HTTP/1.1 and HTTP/2 on both sides.
//!
//! In real time, so with no exact instants: nothing here waits for a time to pass, only for something to
//! happen, and not for ever.

#[path = "../../src/answers.rs"]
mod answers;
#[path = "../../src/caller.rs"]
mod caller;
#[path = "../../src/command_line.rs"]
mod command_line;
#[path = "../../src/connector.rs"]
mod connector;
#[path = "../../src/costs.rs"]
mod costs;
#[path = "../../src/download.rs"]
mod download;
#[path = "../../src/gateway.rs"]
mod gateway;
#[path = "../../src/head.rs"]
mod head;
#[path = "../../src/limits.rs"]
mod limits;
#[path = "../../src/meters.rs"]
mod meters;
#[path = "../../src/options.rs"]
mod options;
#[path = "../../src/own.rs"]
mod own;
#[path = "../../src/reload.rs"]
mod reload;
#[path = "../../src/server.rs"]
mod server;
#[path = "../../src/settings.rs"]
mod settings;
#[path = "../../src/status.rs"]
mod status;
#[path = "../../src/store.rs"]
#[allow(
    dead_code,
    reason = "where there is a store, the tests run the program"
)]
mod store;
#[path = "../../src/terms.rs"]
mod terms;
#[path = "../../src/tunnel.rs"]
mod tunnel;
#[path = "../../src/upload.rs"]
mod upload;
#[path = "../../src/upstream.rs"]
mod upstream;

mod asking;
mod costs_told;
mod failures;
mod files;
mod heads;
mod hostile;
mod leaving;
mod limiting;
mod pages;
mod passing;
mod probes;
mod process;
#[path = "../../../store/tests/support/server.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod redis_server;
mod scraped;
mod sdks;
mod sharing;
mod shutdown;
mod slow;
mod strict;
mod support;
mod terms_asked;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tls;
mod tunnels;
mod unclear;
mod waiting;

//! The gateway, over real sockets, with HTTP/1.1 and HTTP/2 on both sides.
//!
//! In real time, so with no exact instants: nothing here waits for a time to pass, only for something to
//! happen, and not for ever.

#[path = "../../src/answers.rs"]
mod answers;
#[path = "../../src/connector.rs"]
mod connector;
#[path = "../../src/gateway.rs"]
mod gateway;
#[path = "../../src/head.rs"]
mod head;
#[path = "../../src/limits.rs"]
mod limits;
#[path = "../../src/options.rs"]
mod options;
#[path = "../../src/server.rs"]
mod server;
#[path = "../../src/status.rs"]
mod status;
#[path = "../../src/tunnel.rs"]
mod tunnel;
#[path = "../../src/upload.rs"]
mod upload;
#[path = "../../src/upstream.rs"]
mod upstream;

mod command_line;
mod failures;
mod heads;
mod leaving;
mod limiting;
mod passing;
mod process;
mod shutdown;
mod support;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tls;
mod tunnels;
mod waiting;

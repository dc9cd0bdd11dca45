//! The gateway example, over real sockets, with HTTP/1.1 and HTTP/2 on both sides.
//!
//! In real time, so with no exact instants: nothing here waits for a time to pass, only for something to
//! happen, and not for ever.

#[path = "../../examples/gateway/answers.rs"]
mod answers;
#[path = "../../examples/gateway/connector.rs"]
mod connector;
#[path = "../../examples/gateway/gateway.rs"]
mod gateway;
#[path = "../../examples/gateway/head.rs"]
mod head;
#[path = "../../examples/gateway/limits.rs"]
mod limits;
#[path = "../../examples/gateway/options.rs"]
mod options;
#[path = "../../examples/gateway/server.rs"]
mod server;
#[path = "../../examples/gateway/status.rs"]
mod status;
#[path = "../../examples/gateway/tunnel.rs"]
mod tunnel;
#[path = "../../examples/gateway/upload.rs"]
mod upload;
#[path = "../../examples/gateway/upstream.rs"]
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

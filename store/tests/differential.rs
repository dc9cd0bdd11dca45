//! The decision in Rust and the one in Lua give the same answers on the same random histories, with the server's time
//! injected, and no limit is broken in them. `HISTORIES=10000` runs as many; `FIRST=7` begins with that seed.

mod support;

use support::{
    fleet::{self, TIMING, Troubles, number},
    server::Server,
    twice::Twice,
};

#[test]
fn rust_and_lua_decide_alike() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (first, many) = (number("FIRST", 0), number("HISTORIES", 150));
    let (mut calls, mut sent, mut excused) = (0, 0, 0);
    for seed in first..first + many {
        let troubles = if seed % 5 == 0 {
            Troubles::NONE
        } else {
            Troubles::ALL
        };
        let count = fleet::run(seed, &mut Twice::new(&server, TIMING), troubles, 80);
        calls += count.calls;
        sent += count.sent;
        excused += usize::from(count.excused.silent + count.excused.cut_off > 0);
        if many > 1_000 && (seed + 1 - first) % 500 == 0 {
            println!(
                "{} histories, {calls} calls, {sent} dispatched, {excused} with what no store can know",
                seed + 1 - first
            );
        }
    }
    let histories = usize::try_from(many).unwrap();
    assert!(
        calls > histories * 60 && sent > histories * 10,
        "{calls} calls, {sent} sent"
    );
}

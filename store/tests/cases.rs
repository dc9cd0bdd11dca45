//! Single cases that random histories led to: what a clock that steps and a store that forgets may not gain. The
//! decision in Rust, and the one in Lua where there is a `redis-server`.

mod support;

use support::world::{Memory, World};
use tower_throttle_store::protocol::{
    Answer, Ask, Grant, Head, Leaf, Micros, REQUESTS, Scope, Since, Timing, Window,
};

const TIMING: Timing = Timing::LASTING;
const START: Micros = 1_800_000_000_000_000;
const SECOND: Micros = 1_000_000;

/// Runs a case in each world there is.
fn everywhere(case: impl Fn(&mut dyn World)) {
    case(&mut Memory::new(TIMING));
    #[cfg(feature = "redis")]
    if let Some(server) = support::server::Server::start(&[]) {
        case(&mut support::twice::Twice::new(&server, TIMING));
    }
}

/// One scope with a window of one request per second.
fn scope() -> Scope {
    let window = Window {
        unit: REQUESTS.to_owned(),
        n: 1,
        period: SECOND,
        ..Window::default()
    };
    Scope {
        name: "all".to_owned(),
        windows: vec![window],
        ..Scope::default()
    }
}

fn ask(member: &str, seq: i64, epoch: &str, scope: Scope) -> Ask {
    Ask {
        member: member.to_owned(),
        seq,
        epoch: epoch.to_owned(),
        units: [REQUESTS, "output"].map(str::to_owned).to_vec(),
        scopes: vec![scope],
        ..Ask::default()
    }
}

/// The same, for a request that takes the whole window.
fn wants(mut ask: Ask, id: i64) -> Ask {
    let head = Head {
        id,
        costs: vec![1, 10],
        ..Head::default()
    };
    ask.leaves.push(Leaf {
        leaf: 1,
        scopes: vec![0],
        heads: vec![head],
        ages: vec![0],
        waiting: 1,
        totals: vec![1, 10],
        ..Leaf::default()
    });
    ask
}

fn since(mut ask: Ask, passed: Micros) -> Ask {
    ask.since = Some(Since {
        sent: passed,
        heard: passed,
    });
    ask
}

fn grants(answer: &Answer) -> &[Grant] {
    &answer.leaves[0].grants
}

/// How long the request that asks has to wait; 0 if it may go now.
fn wait(answer: &Answer) -> Micros {
    match grants(answer) {
        [grant, ..] => grant.wait,
        [] => answer.leaves[0].wait.expect("a lower bound"),
    }
}

/// L1: after a step back several calls share an instant. Which of them was the member's own is not told by that: what
/// has passed for the member since its call has not passed since another's.
#[test]
fn a_step_forward_after_a_step_back_gains_no_time() {
    everywhere(|world| {
        let epoch = world.ask(&ask("a", 1, "", scope()), START, "run").epoch;
        // The clock is set back by five seconds, and stands still for the store until it has caught up.
        let clock = START - 5 * SECOND;
        let first = wants(ask("b", 1, "", scope()), 1);
        assert_eq!(wait(&world.ask(&first, clock + 600_000, "run")), 0);
        // It is set forward, and the first that comes last called when the other had not called yet.
        let clock = START + 20 * SECOND;
        let told = since(ask("a", 2, &epoch, scope()), 620_000);
        world.ask(&told, clock + 620_000, "run");
        let second = wants(ask("b", 2, &epoch, scope()), 2);
        let answer = world.ask(&second, clock + 640_000, "run");
        assert!(wait(&answer) >= 960_000, "{answer:?}");
    });
}

/// L1: a store that forgot takes a late copy of a call for a new one. What has passed since the member heard the
/// answer to the first copy has not passed since that.
#[test]
fn a_late_copy_of_a_forgotten_call_gains_no_time() {
    everywhere(|world| {
        let copied = ask("a", 1, "", scope());
        let epoch = world.ask(&copied, START, "run").epoch;
        world.forget();
        let clock = START + 5 * SECOND;
        let first = wants(ask("b", 1, "", scope()), 1);
        let answer = world.ask(&first, clock, "run");
        assert_eq!(wait(&answer), 0);
        world.ask(&copied, clock + 10_000, "run");
        // The clock is set forward.
        let clock = clock + 20 * SECOND;
        let told = since(ask("a", 2, &epoch, scope()), 5_020_000);
        world.ask(&told, clock + 20_000, "run");
        let second = wants(ask("b", 2, &answer.epoch, scope()), 2);
        let answer = world.ask(&second, clock + 40_000, "run");
        assert!(wait(&answer) >= 950_000, "{answer:?}");
    });
}

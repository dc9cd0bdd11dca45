//! Single cases that random histories led to: what a clock that steps and a store that forgets may not gain, and what
//! counts at a request's end. The decision in Rust, and the one in Lua where there is a `redis-server`.

mod support;

use support::world::{Memory, World};
use tower_throttle_store::{
    member::Member,
    protocol::{
        Answer, Ask, Grant, Head, Leaf, Micros, REQUESTS, Release, Scope, Since, Timing, Window,
    },
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

/// One scope with a window of one second: one request, or ten units of output that count at the end.
fn scope(unit: &str, at_end: bool) -> Scope {
    let n = if unit == REQUESTS { 1 } else { 10 };
    let window = Window {
        unit: unit.to_owned(),
        n,
        period: SECOND,
        at_end,
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
        let scope = || scope(REQUESTS, false);
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
        let scope = || scope(REQUESTS, false);
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

/// L1: a member was cut off for longer than its lease. The estimate counted from there on; what the request cost
/// counts from its end, though the store does not hold it any more.
#[test]
fn what_outlived_its_lease_counts_from_its_end() {
    everywhere(|world| {
        let scope = || scope("output", true);
        let answer = world.ask(&wants(ask("a", 1, "", scope()), 1), START, "run");
        assert_eq!(grants(&answer)[0].held, [0]);
        let late = START + TIMING.lease + 2 * SECOND;
        let other = ask("b", 1, "", scope());
        world.ask(&other, late - 100_000, "run");
        let mut end = ask("a", 2, &answer.epoch, scope());
        end.releases.push(Release {
            id: 1,
            scopes: vec![0],
            costs: Some(vec![1, 10]),
        });
        world.ask(&end, late, "run");
        let second = wants(ask("b", 2, &answer.epoch, scope()), 1);
        let answer = world.ask(&second, late + 100_000, "run");
        assert_eq!(wait(&answer), 900_000);
    });
}

/// L1: members disagree about where a window counts, and the last that has it count at the end is gone: the requests
/// under way count as dispatched, at the latest instant at which they can have been.
#[test]
fn what_was_to_count_at_the_end_counts_where_that_is_over() {
    everywhere(|world| {
        let epoch = world
            .ask(&ask("a", 1, "", scope("output", true)), START, "run")
            .epoch;
        let gone = START + 3 * TIMING.lease;
        let mine = || scope("output", false);
        let first = wants(ask("b", 1, &epoch, mine()), 1);
        let answer = world.ask(&first, gone - 10_000, "run");
        assert_eq!((wait(&answer), answer.warnings.len()), (0, 1));
        let mut second = wants(ask("b", 2, &epoch, mine()), 2);
        second.scopes[0].holds = 1;
        let answer = world.ask(&second, gone + 10_000, "run");
        assert!(answer.warnings.is_empty());
        let dispatched = TIMING.ahead + TIMING.reservation;
        assert_eq!(wait(&answer), dispatched + SECOND);
    });
}

/// After the store forgot, an end is asserted once: as a stamp, and not as a release too.
#[test]
fn a_member_asserts_an_end_once() {
    let units = [REQUESTS, "output"].map(str::to_owned).to_vec();
    let mut member = Member::new("a".to_owned(), units, TIMING);
    let mut world = Memory::new(TIMING);
    let leaf = wants(ask("", 0, "", scope("output", true)), 1).leaves;
    let said = member
        .ask(0, vec![scope("output", true)], leaf.clone())
        .clone();
    let heard = member.hear(100, &world.ask(&said, START, "run"));
    member.dispatched(&heard.slots[0], 200);
    member.begins("another");
    member.ended(1, None, 300);
    let said = member.ask(400, vec![scope("output", true)], Vec::new());
    assert!(said.releases.is_empty(), "{said:?}");
    let ends = said.stamps.iter().filter(|stamp| stamp.at_end);
    assert_eq!(ends.count(), 1);
    assert_eq!(said.scopes[0].keep.as_deref(), Some(&[][..]));
    // What it heard was an answer from before.
    assert_eq!(said.since.map(|since| since.heard), Some(0));
}

/// L2, L3: a call takes longer at one time than at another, and what it reports seems as much younger. Of two members
/// that ask again in turn, neither is told each time that the other one goes first.
#[test]
fn a_late_call_makes_nobody_younger() {
    everywhere(|world| {
        let scope = || scope(REQUESTS, false);
        let first = wants(ask("c", 1, "", scope()), 1);
        let epoch = world.ask(&first, START, "run").epoch;
        // What arrived at `arrived`, of a call that was made so much earlier than it is decided.
        let mut asks = |member: &str, seq, arrived: Micros, at: Micros, late: Micros| {
            let mut ask = wants(ask(member, seq, &epoch, scope()), seq);
            ask.leaves[0].ages = vec![at - late - arrived];
            world.ask(&ask, START + at, "run")
        };
        asks("a", 1, 100_000, 101_000, 0);
        asks("b", 1, 102_000, 103_000, 0);
        // Before the window opens. The one that is first calls last, and its call takes three milliseconds longer.
        let other = asks("b", 2, 102_000, 994_000, 0);
        assert_eq!(grants(&other), []);
        let oldest = asks("a", 2, 100_000, 998_000, 3_000);
        assert_eq!(grants(&oldest).len(), 1, "{oldest:?}");
    });
}

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

/// A new epoch settles from its first call on, whatever that is about.
#[test]
fn a_call_that_names_no_scope_is_told_that_the_store_settles() {
    let timing = Timing::FORGETFUL;
    let says_nothing = Ask {
        scopes: Vec::new(),
        ..ask("a", 1, "", scope(REQUESTS, false))
    };
    let mut worlds: Vec<Box<dyn World>> = vec![Box::new(Memory::new(timing))];
    #[cfg(feature = "redis")]
    let server = support::server::Server::start(&[]);
    #[cfg(feature = "redis")]
    worlds.extend(
        server.iter().map(|server| -> Box<dyn World> {
            Box::new(support::twice::Twice::new(server, timing))
        }),
    );
    for mut world in worlds {
        let answer = world.ask(&says_nothing, START, "run");
        assert_eq!(answer.settling, timing.settle_least);
    }
}

/// What was in a call that the store refused is in the next one.
#[test]
fn a_refused_call_is_said_by_the_next() {
    let mut world = Memory::new(TIMING);
    let units = [REQUESTS, "output"].map(str::to_owned).to_vec();
    let mut member = Member::new("a".to_owned(), units, TIMING);
    let limits = || Scope {
        permits: Some(9),
        ..scope(REQUESTS, false)
    };
    let head = |id| Head {
        id,
        ..Head::default()
    };
    let leaf = Leaf {
        heads: (1..4).map(head).collect(),
        ages: vec![0; 3],
        waiting: 3,
        totals: Vec::new(),
        ..wants(ask("", 0, "", limits()), 1).leaves.remove(0)
    };
    let mut wide = limits();
    wide.windows[0].n = 3;
    let said = member.ask(0, vec![wide.clone()], vec![leaf]).clone();
    let [one, two, three] = member
        .hear(0, &world.ask(&said, START, "run"))
        .slots
        .try_into()
        .unwrap();
    member.dispatched(&one, 0);
    member.settled(&one, 0, 2);
    member.ended(1, None, 10);
    member.give_back(&two, false);
    member.dispatched(&three, three.closes + 10);
    let first = member.ask(20_000, vec![wide.clone()], Vec::new()).clone();
    assert_eq!(member.ask(21_000, Vec::new(), Vec::new()), &first);
    assert_eq!((first.releases.len(), first.back.len()), (2, 1));
    assert_eq!((first.settlements.len(), first.stamps.len()), (1, 1));
    assert_eq!(member.refused(), Some(first.clone()));
    assert!(member.has_news() && !member.is_asking());
    member.ended(3, None, 25_000);
    let mut next = member.ask(30_000, vec![wide], Vec::new()).clone();
    assert_eq!(next.stamps.remove(0).age, first.stamps[0].age + 10_000);
    assert_eq!(next.releases.pop().map(|one| one.id), Some(3));
    assert_eq!(next.releases, first.releases);
    assert_eq!(
        (next.back, next.settlements),
        (first.back, first.settlements)
    );
    assert_eq!(next.seq, first.seq + 1);
}

/// A member that holds one permit in each of so many scopes, all of which it has named at 0.
fn holder(world: &mut Memory, many: usize) -> Member {
    let mut member = Member::new("a".to_owned(), vec![REQUESTS.to_owned()], TIMING);
    let leaves = (0..).take(many).map(|number| Leaf {
        leaf: i64::try_from(number).unwrap(),
        scopes: vec![number],
        heads: vec![Head {
            id: i64::try_from(number).unwrap(),
            ..Head::default()
        }],
        ages: vec![0],
        waiting: 1,
        ..Leaf::default()
    });
    let said = member.ask(0, (0..many).map(limited).collect(), leaves.collect());
    let answer = world.ask(&said.clone(), START, "run");
    for slot in member.hear(0, &answer).slots {
        member.dispatched(&slot, 0);
    }
    member
}

fn limited(number: usize) -> Scope {
    Scope {
        name: number.to_string(),
        permits: Some(1),
        ..Scope::default()
    }
}

fn configured(member: &Member, now: Micros) -> Vec<Scope> {
    let names = member.scopes(now).map(|name| name.parse().unwrap());
    let names: std::collections::BTreeSet<usize> = names.collect();
    names.into_iter().map(limited).collect()
}

/// A scope in which something is only held is named when a third of a lease has passed, and of many a few in each call.
#[test]
fn what_is_only_held_is_named_a_few_at_a_time() {
    const MANY: usize = 300;
    let mut world = Memory::new(TIMING);
    let mut member = holder(&mut world, MANY);
    let third = TIMING.lease / 3;
    assert_eq!(member.heartbeat(third - 1), Some(third));
    assert_eq!(configured(&member, third - 1), []);
    let (mut now, mut named) = (third, Vec::new());
    while member.heartbeat(now).unwrap() <= now {
        let scopes = configured(&member, now);
        named.push(scopes.len());
        let said = member.ask(now, scopes, Vec::new()).clone();
        let answer = world.ask(&said, START + now, "run");
        assert!(!member.hear(now + 1000, &answer).assert);
        now += 1000;
    }
    assert_eq!(named, [64, 64, 64, 64, 44]);
    assert_eq!(member.heartbeat(now), Some(2 * third));
}

/// Where calls take long, those that have waited for half a lease are named together: no lease ends.
#[test]
fn what_is_held_is_named_in_time_where_calls_are_slow() {
    let mut world = Memory::new(TIMING);
    let mut member = holder(&mut world, 1500);
    let mut now = 0;
    for _ in 0..40 {
        now = now.max(member.heartbeat(now).unwrap());
        let scopes = configured(&member, now);
        let said = member.ask(now, scopes, Vec::new()).clone();
        let answer = world.ask(&said, START + now, "run");
        // One whose lease had ended would be asked for.
        now += 400_000;
        assert!(!member.hear(now, &answer).assert);
    }
    assert!(now > 3 * TIMING.lease, "{now}");
}

/// What does not go into one call is said in the next.
#[test]
fn what_is_said_of_more_scopes_than_a_call_takes_is_said_by_several() {
    const MANY: usize = 6000;
    let mut world = Memory::new(TIMING);
    let mut member = holder(&mut world, MANY);
    for id in 0..MANY {
        member.ended(i64::try_from(id).unwrap(), None, 10);
    }
    let mut said = Vec::new();
    while member.has_news() {
        let scopes = configured(&member, 20);
        let ask = member.ask(20, scopes, Vec::new()).clone();
        said.push(ask.releases.len());
        let answer = world.ask(&ask, START + 20, "run");
        assert!(!member.hear(20, &answer).assert);
    }
    assert_eq!(said, [4000, 2000]);
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

//! What requests cost (law L14): the units that are counted, and what may be said of them.

use std::fmt;

use proptest::{collection::vec, option, prelude::*};
use tower_throttle::Cost;

use crate::{
    config::{Config, GROUP, LONGEST, Limit, Millis, OVERALL, SCOPES, WIDEST, layer},
    ops::{Op, answer, call, piece, readiness, sleep},
    reference::Estimates,
    support::Face,
};

/// A unit, by number.
pub type Unit = usize;

/// Two that are counted at dispatch, and one that is counted at the answer's end.
pub const UNITS: [(&str, bool); 3] = [("tokens", false), ("credits", false), ("output", true)];

pub fn unit(unit: Unit) -> tower_throttle::Unit {
    let (name, at_end) = UNITS[unit];
    let unit = tower_throttle::Unit::new(name);
    if at_end { unit.at_end() } else { unit }
}

pub const fn is_at_end(unit: Unit) -> bool {
    UNITS[unit].1
}

/// What a request states to cost.
#[derive(Clone, Default, PartialEq)]
pub struct Stated {
    pub requests: Option<u32>,
    pub permits: Option<usize>,
    pub units: [Option<u64>; UNITS.len()],
}

impl Stated {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn cost(&self) -> Cost {
        let mut cost = cost_of(&self.units);
        if let Some(n) = self.requests {
            cost = cost.requests(n);
        }
        if let Some(n) = self.permits {
            cost = cost.permits(n);
        }
        cost
    }
}

/// In one line.
impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cost())
    }
}

/// A cost in units alone.
pub fn cost_of(units: &[Option<u64>; UNITS.len()]) -> Cost {
    let stated = units.iter().enumerate();
    stated.fold(Cost::new(), |cost, (of, amount)| match amount {
        Some(amount) => cost.of(unit(of), *amount),
        None => cost,
    })
}

/// Windows that a few requests fill, and whose eighth is more than nothing.
pub fn limit() -> impl Strategy<Value = Limit> {
    let period = || prop_oneof![5 => 3u64..16, 1 => 16..=LONGEST];
    (
        vec((1u32..6, period()), 0..2),
        vec((0..UNITS.len(), 4u64..40, period()), 0..3),
        option::weighted(0.4, 1usize..5),
        prop_oneof![4 => Just(0u64), 1 => 1..=WIDEST],
        proptest::bool::weighted(0.15),
    )
        .prop_map(
            |(windows, units, concurrency, margin, release_at_head)| Limit {
                windows,
                units,
                concurrency,
                margin,
                release_at_head,
            },
        )
}

/// Nobody has a limit to its patience: where units are counted, the computed wait is a lower bound, and the laws do not
/// say when a request is refused that waits in vain.
pub fn config() -> impl Strategy<Value = Config> {
    let face = prop_oneof![1 => Just(Face::Rps), 4 => Just(Face::Throttle)];
    layer(true, face, limit, Just(None::<Millis>))
}

/// Other numbers for a quota. It counts the same units as before: the laws do not say in which order those compete at
/// wider scopes that wait already, and begin to need another unit. Windows of requests keep their periods: of requests
/// that count as several, the laws do not say which are remembered for longer than a window asks.
#[derive(Clone, Debug)]
pub struct Resize {
    /// For each window an n, counted round at twice what it was, and a period.
    windows: Vec<(u64, Option<Millis>)>,
    concurrency: Option<usize>,
}

impl Resize {
    pub fn of(&self, mut limit: Limit) -> Limit {
        let mut others = self.windows.iter().cycle();
        for (n, _) in &mut limit.windows {
            let (other, _) = others.next().expect("there is one");
            *n = 1 + u32::try_from(*other).unwrap() % (2 * *n);
        }
        for (_, n, period) in &mut limit.units {
            let (other, longer) = others.next().expect("there is one");
            *n = 1 + other % (2 * *n);
            *period = longer.unwrap_or(*period);
        }
        limit.concurrency = self.concurrency;
        limit
    }
}

pub fn resize() -> impl Strategy<Value = Resize> {
    let period = prop_oneof![5 => 3u64..16, 1 => 16..=LONGEST];
    (
        vec((0u64..1000, option::weighted(0.3, period)), 5),
        option::weighted(0.4, 1usize..5),
    )
        .prop_map(|(windows, concurrency)| Resize {
            windows,
            concurrency,
        })
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![10 => 1u64..12, 2 => Just(0u64), 1 => 10u64..45]
}

pub fn stated() -> impl Strategy<Value = Stated> {
    let some = (
        option::weighted(0.2, prop_oneof![1 => Just(0u32), 3 => 1u32..4]),
        option::weighted(0.2, prop_oneof![1 => Just(0usize), 3 => 1usize..4]),
        [(); UNITS.len()].map(|()| option::weighted(0.7, amount())),
    );
    let some = some.prop_map(|(requests, permits, units)| Stated {
        requests,
        permits,
        units,
    });
    prop_oneof![1 => Just(Stated::default()), 2 => some]
}

/// What somebody says that a request has cost.
pub fn settled() -> impl Strategy<Value = Estimates> {
    [(); UNITS.len()].map(|()| option::weighted(0.7, amount()))
}

pub fn op() -> impl Strategy<Value = Op> {
    let which = || any::<usize>();
    let asleep = || prop_oneof![9 => Just(0u64), 1 => sleep()];
    let call = || call(stated(), Just(None::<i64>), asleep());
    let scope = || prop_oneof![2 => 0usize..2, 1 => GROUP..=OVERALL, 2 => 0..SCOPES];
    prop_oneof![
        14 => call().prop_map(Op::Call),
        2 => (2..13usize, call()).prop_map(|(n, call)| Op::Burst(n, call)),
        1 => which().prop_map(Op::Poll),
        3 => which().prop_map(Op::Drop),
        10 => (which(), answer()).prop_map(|(which, answer)| Op::Answer(which, answer)),
        3 => (which(), piece()).prop_map(|(which, piece)| Op::Send(which, piece)),
        4 => which().prop_map(Op::Read),
        6 => (which(), settled()).prop_map(|(which, amounts)| Op::Settle(which, amounts)),
        3 => which().prop_map(Op::Forget),
        4 => (scope(), resize()).prop_map(|(scope, resize)| Op::Resize(scope, resize)),
        1 => (scope(), 1u64..15).prop_map(|(scope, time)| Op::Pause(scope, time)),
        1 => scope().prop_map(Op::Resume),
        1 => Just(Op::Sweep),
        1 => readiness().prop_map(Op::Inner),
        2 => (which(), sleep()).prop_map(|(which, time)| Op::Sleep(which, time)),
        1 => sleep().prop_map(Op::Doze),
        6 => Just(Op::Run),
        10 => (prop_oneof![3 => Just(1u64), 2 => 1u64..8], any::<bool>())
            .prop_map(|(time, lazily)| Op::Advance(time, lazily)),
    ]
}

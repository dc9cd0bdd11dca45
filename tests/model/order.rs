//! Who goes first (laws L15 and L16): classes, the floor under them, and flows; and a layer that is closed (law L20).

use proptest::{option, prelude::*};
use tower_throttle::Flow;

use crate::{
    config::{self, Config, ENDPOINTS, GROUP, Millis, OVERALL, SCOPES, layer},
    costs::{self, Stated},
    ops::{Call, Op, answer, call, piece, readiness, sleep},
    support::Face,
};

/// A class, by its place: the highest is 0.
pub type Priority = usize;

/// As many as there are, the highest first.
pub const PRIORITIES: [tower_throttle::Priority; 3] = [
    tower_throttle::Priority::HIGH,
    tower_throttle::Priority::NORMAL,
    tower_throttle::Priority::LOW,
];

/// That of a request that states none.
pub const NORMAL: Priority = 1;

/// Between which classes there is a border: below the highest, and above the lowest.
pub const BORDERS: usize = PRIORITIES.len() - 1;

/// Whose request it is, and how much that one weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub key: u8,
    pub weight: u32,
}

impl Owner {
    pub fn flow(self) -> Flow {
        Flow::new(self.key).weight(self.weight)
    }
}

/// What a request says of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub priority: Priority,
    pub owner: Option<Owner>,
}

impl Asked {
    pub const NOTHING: Self = Self {
        priority: NORMAL,
        owner: None,
    };
}

/// A layer whose requests have classes and flows. Nobody has a limit to its patience: where several classes wait, the
/// computed wait is a lower bound.
pub fn config() -> impl Strategy<Value = Config> {
    ordered(layer(false, face(), config::limit, Just(None::<Millis>)))
}

fn face() -> impl Strategy<Value = Face> {
    prop_oneof![
        1 => Just(Face::Rps),
        1 => Just(Face::Concurrency),
        3 => Just(Face::Throttle),
    ]
}

fn ordered(layers: impl Strategy<Value = Config>) -> impl Strategy<Value = Config> {
    let floor = prop_oneof![
        1 => Just(None),
        3 => Just(Some(4)),
        2 => (5u32..9).prop_map(Some),
    ];
    let waiting = option::weighted(0.2, 0usize..12);
    (layers, floor, waiting).prop_map(|(config, floor, max_waiting)| Config {
        orders: true,
        floor,
        max_waiting,
        ..config
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    // A flow has a weight of its own, and now and then another.
    let owner = (
        0u8..4,
        prop_oneof![6 => Just(None), 1 => (1u32..5).prop_map(Some)],
    );
    let owner = owner.prop_map(|(key, weight)| Owner {
        key,
        weight: weight.unwrap_or(1 + u32::from(key)),
    });
    let priority = prop_oneof![3 => Just(0), 3 => Just(NORMAL), 3 => Just(2)];
    (priority, option::weighted(0.5, owner)).prop_map(|(priority, owner)| Asked { priority, owner })
}

/// Mostly at two endpoints, so that many wait at one.
fn ordered_call() -> impl Strategy<Value = Call> {
    let asleep = prop_oneof![9 => Just(0u64), 1 => sleep()];
    let endpoint = prop_oneof![6 => 0usize..2, 1 => 0..ENDPOINTS];
    let partition = prop_oneof![4 => Just(Some(0)), 1 => Just(None)];
    let call = call(Just(Stated::default()), Just(None::<i64>), asleep);
    (call, asked(), endpoint, partition).prop_map(|(call, asked, endpoint, partition)| Call {
        endpoint,
        partition: partition.unwrap_or(call.partition),
        asked,
        ..call
    })
}

pub fn op() -> impl Strategy<Value = Op> {
    let which = || any::<usize>();
    let scope = || prop_oneof![2 => 0usize..2, 1 => GROUP..=OVERALL, 2 => 0..SCOPES];
    prop_oneof![
        28 => ordered_call().prop_map(Op::Call),
        10 => (2..13usize, ordered_call()).prop_map(|(n, call)| Op::Burst(n, call)),
        2 => which().prop_map(Op::Poll),
        6 => which().prop_map(Op::Drop),
        20 => (which(), answer()).prop_map(|(which, answer)| Op::Answer(which, answer)),
        4 => (which(), piece()).prop_map(|(which, piece)| Op::Send(which, piece)),
        6 => which().prop_map(Op::Read),
        6 => (which(), costs::settled()).prop_map(|(which, amounts)| Op::Settle(which, amounts)),
        4 => which().prop_map(Op::Forget),
        5 => (scope(), costs::resize()).prop_map(|(scope, resize)| Op::Resize(scope, resize)),
        3 => (scope(), 1u64..15).prop_map(|(scope, time)| Op::Pause(scope, time)),
        2 => scope().prop_map(Op::Resume),
        2 => Just(Op::Sweep),
        2 => readiness().prop_map(Op::Inner),
        6 => (which(), sleep()).prop_map(|(which, time)| Op::Sleep(which, time)),
        2 => sleep().prop_map(Op::Doze),
        1 => Just(Op::Close),
        12 => Just(Op::Run),
        24 => (prop_oneof![3 => Just(1u64), 2 => 1u64..8], any::<bool>())
            .prop_map(|(time, lazily)| Op::Advance(time, lazily)),
    ]
}

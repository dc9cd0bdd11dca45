//! Random limits, costs and schedules.

use proptest::{collection::vec, option, prelude::*};

use super::{
    ledger::{GROUP, Limit, OUTPUT, OVERALL, REQUESTS, TOKENS},
    world::{Actual, Amount, Asked, Kind, Op},
};

pub fn limit() -> impl Strategy<Value = Limit> {
    let period = || prop_oneof![3 => 1u64..30, 1 => 30u64..90];
    (
        vec((Just(REQUESTS), 1u64..6, period()), 0..2),
        vec((Just(TOKENS), 1u64..100, period()), 0..3),
        vec((Just(OUTPUT), 1u64..100, period()), 0..2),
        option::weighted(0.4, 1usize..5),
        prop_oneof![3 => Just(0u64), 1 => 1u64..20],
        prop_oneof![3 => Just(0u64), 1 => 1u64..50],
        proptest::bool::weighted(0.2),
    )
        .prop_map(
            |(requests, tokens, output, permits, margin, grace, until_head)| Limit {
                windows: [requests, tokens, output].concat(),
                permits,
                margin,
                grace,
                until_head,
            },
        )
}

/// For the endpoints below a wider limit: half of them have none.
pub fn narrow() -> impl Strategy<Value = Limit> {
    prop_oneof![Just(Limit::default()), limit()]
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        3 => Just(Amount::Nothing),
        1 => Just(Amount::Of(0)),
        6 => (1u64..60).prop_map(Amount::Of),
        2 => Just(Amount::Full(0)),
        1 => prop_oneof![Just(Amount::Full(1)), Just(Amount::Full(-1))],
        1 => Just(Amount::Most),
    ]
}

fn few() -> impl Strategy<Value = Amount> {
    prop_oneof![
        12 => Just(Amount::Nothing),
        2 => Just(Amount::Of(0)),
        3 => (1u64..4).prop_map(Amount::Of),
        1 => Just(Amount::Full(0)),
        1 => Just(Amount::Full(1)),
        1 => Just(Amount::Most),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    (few(), amount(), amount(), few()).prop_map(|(requests, tokens, output, permits)| Asked {
        units: [requests, tokens, output],
        permits,
    })
}

fn actual() -> impl Strategy<Value = Actual> {
    let n = || {
        option::weighted(
            0.8,
            prop_oneof![2 => Just(0u64), 8 => 1u64..80, 1 => Just(u64::MAX)],
        )
    };
    (n(), n()).prop_map(|(tokens, output)| [tokens, output])
}

fn op(endpoints: usize, quotas: bool) -> BoxedStrategy<Op> {
    let which = 0usize..8;
    let scope = prop_oneof![0..endpoints, Just(GROUP), Just(OVERALL)];
    let kind = prop_oneof![
        4 => Just(Kind::Success),
        2 => Just(Kind::SuccessWithBody),
        1 => Just(Kind::ClientError),
        1 => Just(Kind::ServerError),
        1 => Just(Kind::Error),
    ];
    let ask = (0..endpoints, 0usize..2, asked(), any::<bool>()).prop_map(
        |(endpoint, partition, asked, keep)| Op::Ask {
            endpoint,
            partition,
            asked,
            keep,
        },
    );
    let basic = prop_oneof![
        16 => ask,
        8 => (which.clone(), kind).prop_map(|(which, kind)| Op::Answer(which, kind)),
        3 => (which.clone(), any::<bool>()).prop_map(|(which, whole)| Op::EndBody(which, whole)),
        2 => which.clone().prop_map(Op::Cancel),
        6 => (which.clone(), actual(), proptest::bool::weighted(0.2))
            .prop_map(|(which, actual, thread)| Op::Settle(which, actual, thread)),
        2 => which.prop_map(Op::Forget),
        1 => Just(Op::Sweep),
        1 => (scope.clone(), 1u64..60).prop_map(|(scope, time)| Op::Pause(scope, time)),
        1 => scope.clone().prop_map(Op::Resume),
    ];
    if !quotas {
        return basic.boxed();
    }
    let set = (scope, limit()).prop_map(|(scope, limit)| Op::SetQuota(scope, limit));
    prop_oneof![8 => basic, 1 => set].boxed()
}

/// What happens, each with the milliseconds since the one before.
pub fn schedule(endpoints: usize, quotas: bool) -> impl Strategy<Value = Vec<(u64, Op)>> {
    let wait = prop_oneof![3 => Just(0u64), 3 => 1u64..8, 1 => 8u64..60];
    vec((wait, op(endpoints, quotas)), 1..50)
}

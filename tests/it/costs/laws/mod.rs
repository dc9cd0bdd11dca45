//! Law L14 over random schedules, against a naive ledger.

#![allow(unreachable_pub, dead_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "a unit is an index into several tables"
)]

mod absent;
mod answers;
mod chaos;
mod ledger;
mod patience;
mod puppet;
mod readiness;
mod schedule;
mod world;

use crate::support::{Face, cases, paused};
use ledger::{Config, Limit, OVERALL};
use proptest::{collection::vec, prelude::*};
use schedule::{limit, narrow, schedule};
use world::{Op, World};

fn play(config: &Config, schedule: &[(u64, Op)]) {
    paused(async {
        World::new(config).play(schedule).await;
    });
}

fn face() -> impl Strategy<Value = Face> {
    prop_oneof![1 => Just(Face::Rps), 3 => Just(Face::Throttle)]
}

fn alone(face: Face, endpoints: Vec<Limit>) -> Config {
    Config {
        face,
        endpoints,
        group: None,
        overall: None,
        across: None,
        partitions: false,
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// L14, L2, L3, L5, L7: one endpoint, to the millisecond: sums, order, and who can never fit.
    #[test]
    fn one_endpoint_keeps_the_law(
        face in face(),
        limit in limit(),
        schedule in schedule(1, false),
    ) {
        play(&alone(face, vec![limit]), &schedule);
    }

    /// L14, L5: permits by cost, and those of dropped calls for exactly the grace.
    #[test]
    fn permits_are_counted_by_cost_and_kept_for_the_grace(
        limit in limit(),
        schedule in schedule(1, false),
    ) {
        play(&alone(Face::Concurrency, vec![limit]), &schedule);
    }

    /// L14, L2: what goes through an overall limit, except for who passes whom.
    #[test]
    fn an_overall_limit_keeps_the_law(
        face in face(),
        endpoints in vec(narrow(), 3),
        overall in limit(),
        schedule in schedule(3, false),
    ) {
        play(&Config { overall: Some(overall), ..alone(face, endpoints) }, &schedule);
    }

    /// L14, L2: what goes through a group, except for who passes whom.
    #[test]
    fn a_group_keeps_the_law(
        face in face(),
        endpoints in vec(narrow(), 3),
        group in limit(),
        schedule in schedule(3, false),
    ) {
        play(&Config { group: Some(group), ..alone(face, endpoints) }, &schedule);
    }

    /// L14, L2, L4: all scopes at once.
    #[test]
    fn groups_partitions_and_all_of_them_keep_the_law(
        face in face(),
        endpoints in vec(narrow(), 3),
        group in proptest::option::of(limit()),
        overall in proptest::option::of(limit()),
        across in proptest::option::of(limit()),
        partitions in any::<bool>(),
        schedule in schedule(3, false),
    ) {
        play(&Config { face, endpoints, group, overall, across, partitions }, &schedule);
    }

    /// L14, L1, L2: quotas of the same units that become larger and smaller.
    #[test]
    fn the_law_holds_while_quotas_change(
        face in face(),
        endpoints in vec(narrow(), 2),
        overall in proptest::option::of(limit()),
        schedule in schedule(2, true),
    ) {
        play(&Config { overall, ..alone(face, endpoints) }, &schedule);
    }

    /// L14, L3: at a wider limit of one unit heads go in the order in which they got there, and pass those alone who
    /// wait for what they do not cost.
    #[test]
    fn heads_go_in_the_order_in_which_they_reached_a_wider_limit(
        face in face(),
        endpoints in vec(narrow(), 3),
        mut overall in limit(),
        unit in 0usize..3,
        mut schedule in schedule(3, true),
    ) {
        overall.windows.retain(|window| window.0 == unit);
        overall.permits = None;
        // Heads that wait for the end of one pause together are in `costs_edges.rs`.
        schedule.retain(|(_, op)| !matches!(op, Op::Pause(OVERALL, _)));
        for (_, op) in &mut schedule {
            if let Op::SetQuota(OVERALL, limit) = op {
                limit.permits = None;
            }
        }
        let config = alone(face, endpoints);
        play(&Config { overall: Some(overall), ..config }, &schedule);
    }
}

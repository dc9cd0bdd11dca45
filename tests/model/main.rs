//! The limiting layers beside a model of them.
//!
//! A case is a layer with random limits and a random sequence of what can happen to it: calls, polls,
//! drops, answers and their bodies, panics, changes of quotas, pauses, sweeps, an inner service that is
//! not ready, and time. The driver polls whoever is woken, in random order. After each step everything
//! that can be seen has to be what the model says: who is sent and when, who is refused, why and with
//! what wait, and all figures of the snapshot.
//!
//! A plain list of operations, each of which does nothing where it does not apply, shrinks better than
//! one that depends on the model's state, and needs nothing but proptest.
//!
//! `PROPTEST_CASES` says how many cases there are.

#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod config;
mod costs;
mod driver;
mod inner;
mod ops;
mod order;
mod reference;

use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(support::cases(250))]

    #[test]
    fn the_layers_do_what_the_model_says(
        config in config::config(),
        ops in vec(ops::op(), 1..120),
        seed in any::<u64>(),
    ) {
        support::paused(driver::run(&config, &ops, seed));
    }

    #[test]
    fn requests_cost_what_the_model_says(
        config in costs::config(),
        ops in vec(costs::op(), 1..120),
        seed in any::<u64>(),
    ) {
        support::paused(driver::run(&config, &ops, seed));
    }

    #[test]
    fn classes_and_flows_go_as_the_model_says(
        config in order::config(),
        ops in vec(order::op(), 1..120),
        seed in any::<u64>(),
    ) {
        support::paused(driver::run(&config, &ops, seed));
    }
}

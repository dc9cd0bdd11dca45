//! How a limit to the requests in flight is guessed, lowered and tried.

use super::Demand;
use super::{
    at,
    learned::{Client, refusal},
};
use crate::{
    Quota,
    bucket::{Gate, Refusal, RefusalKind},
};

fn too_many() -> Refusal {
    refusal(RefusalKind::Concurrency(None), None)
}

fn limit(client: &Client) -> u64 {
    client.bucket.concurrency(&client.rules, at(0)).unwrap() as u64
}

/// A client that has learned this limit.
fn limited_to(limit: u64) -> Client {
    let mut client = Client::new(&Quota::concurrent(100));
    client.send(20, at(0));
    client.refuse(20 - limit, &too_many(), at(0));
    client.end(20);
    client
}

/// How many rounds of successes it takes until more is tried.
fn patience(client: &mut Client) -> u32 {
    let before = limit(client);
    let mut rounds = 0;
    while limit(client) == before {
        let n = client.send(100, at(0));
        client.succeed(n, at(0));
        client.end(n);
        rounds += 1;
        assert!(rounds < 100, "nothing is tried");
    }
    rounds
}

#[test]
fn the_last_request_of_a_wave_counts_down_like_the_others() {
    let mut client = Client::new(&Quota::concurrent(100));
    client.send(10, at(0));
    client.refused(1, &too_many(), at(0));
    assert_eq!(limit(&client), 9);
    client.end(5);
    client.refused(10, &too_many(), at(0));
    assert_eq!(limit(&client), 8);
}

#[test]
fn what_no_try_provoked_makes_trying_no_rarer() {
    let mut client = limited_to(5);
    // Strangers have one of the five.
    client.send(5, at(0));
    client.refuse(1, &too_many(), at(0));
    client.end(5);
    assert_eq!(limit(&client), 4);
    assert_eq!(patience(&mut client), 2);
}

#[test]
fn a_try_that_held_makes_up_for_those_that_failed() {
    let mut client = limited_to(4);
    let fail = |client: &mut Client, refused| {
        let n = client.send(100, at(0));
        client.refuse(refused, &too_many(), at(0));
        client.end(n);
    };
    assert_eq!(patience(&mut client), 2);
    fail(&mut client, 1);
    assert_eq!((limit(&client), patience(&mut client)), (4, 4));
    // Five are taken now, and seven are not.
    assert_eq!((limit(&client), patience(&mut client)), (5, 1));
    fail(&mut client, 2);
    assert_eq!((limit(&client), patience(&mut client)), (5, 4));
}

#[test]
fn one_by_one_nothing_is_found_out() {
    let mut client = limited_to(4);
    for _ in 0..100 {
        client.send(1, at(0));
        client.succeed(1, at(0));
        client.end(1);
    }
    assert_eq!(limit(&client), 4);
}

#[test]
fn a_learned_limit_closes_the_gate_until_it_is_forgotten() {
    let mut client = limited_to(4);
    client.send(4, at(0));
    let forgotten = Gate::Until(at(600_000));
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(0)),
        forgotten
    );
    // Which is later than any pause.
    client.bucket.pause(at(5000));
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(0)),
        forgotten
    );
    client.end(1);
    let paused = Gate::Until(at(5000));
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(0)),
        paused
    );
}

//! How many may be in flight where nothing is configured, and nothing is learned.

use super::{
    BOTH, at,
    learned::{Client, refusal},
};
use crate::{
    Quota,
    bucket::{Enforced, Learning, RefusalKind, Rules},
};

fn client(learning: Learning) -> Client {
    let mut client = Client::new(&Quota::unlimited());
    client.rules = Rules::new(&Quota::unlimited(), BOTH, learning.discover(), true);
    client
}

fn limit(client: &Client, millis: u64) -> Option<usize> {
    client.bucket.concurrency(&client.rules, at(millis))
}

/// Sends what there is room for, and has it accepted a little later.
fn round(client: &mut Client, millis: u64) -> u64 {
    let sent = client.send(1000, at(millis));
    client.succeed(sent, at(millis + 100));
    client.end(sent);
    sent
}

#[test]
fn it_doubles_with_each_round_trip() {
    let mut client = client(Learning::none());
    let sent: Vec<_> = (0..5).map(|n| round(&mut client, n * 1000)).collect();
    assert_eq!(sent, [16, 32, 64, 128, 256]);
}

#[test]
fn answers_that_come_one_by_one_raise_it_as_well() {
    let mut client = client(Learning::none());
    client.send(16, at(0));
    for serial in 1..=16 {
        client.succeed(1, at(100 * serial));
        client.end(1);
        assert_eq!(client.send(2, at(100 * serial)), 2);
    }
    assert_eq!(limit(&client, 1600), Some(32));
}

#[test]
fn nothing_is_kept_for_a_bucket_that_hardly_uses_it() {
    let mut client = client(Learning::all());
    for n in 0..10 {
        client.send(7, at(n * 1000));
        client.succeed(7, at(n * 1000 + 100));
        client.end(7);
        assert!(!client.bucket.has_learned());
    }
    assert_eq!(limit(&client, 10_000), Some(16));
}

#[test]
fn after_a_wave_that_teaches_nothing_it_begins_with_what_was_accepted() {
    let mut client = client(Learning::none());
    assert_eq!(client.send(100, at(0)), 16);
    client.refuse(11, &refusal(RefusalKind::Rate, Some(1000)), at(100));
    client.end(16);
    assert_eq!(limit(&client, 100), Some(5));
    let sent: Vec<_> = (2..6).map(|n| round(&mut client, n * 1000)).collect();
    assert_eq!(sent, [5, 10, 20, 40]);
}

/// Then nobody knows what would be accepted.
#[test]
fn after_a_wave_of_which_nothing_was_accepted_it_begins_anew() {
    let mut client = client(Learning::all());
    for n in 0..3 {
        round(&mut client, n * 1000);
    }
    assert_eq!(client.send(1000, at(3000)), 128);
    client.refuse(128, &refusal(RefusalKind::Rate, Some(1000)), at(3100));
    client.end(128);
    assert_eq!(limit(&client, 3100), Some(16));
    let sent: Vec<_> = (6..8).map(|n| round(&mut client, n * 1000)).collect();
    assert_eq!(sent, [16, 32]);
}

/// A request that has a trouble of its own holds up no other.
#[test]
fn a_refusal_among_many_that_are_accepted_stops_nothing() {
    let mut client = client(Learning::all());
    let mut sent = Vec::new();
    for n in 0..5 {
        let serial = client.newest + 1;
        sent.push(client.send(1000, at(n * 2000)));
        let refusal = refusal(RefusalKind::Rate, Some(1000));
        client.refused(serial, &refusal, at(n * 2000 + 100));
        for serial in serial + 1..=client.newest {
            client.report(
                serial,
                &crate::bucket::Report::default(),
                at(n * 2000 + 100),
            );
        }
        client.end(sent[sent.len() - 1]);
    }
    assert!(
        sent.is_sorted_by(|before, after| before < after),
        "{sent:?}"
    );
    assert!(sent[4] > 100, "{sent:?}");
}

#[test]
fn answers_to_requests_of_the_wave_raise_nothing() {
    let mut client = client(Learning::none());
    client.send(100, at(0));
    client.refuse(6, &refusal(RefusalKind::Rate, Some(1000)), at(100));
    for serial in 1..=10 {
        client.report(serial, &crate::bucket::Report::default(), at(200));
    }
    client.end(16);
    assert_eq!(limit(&client, 200), Some(10));
}

#[test]
fn it_steps_aside_for_a_limit_that_is_learned_and_goes_on_from_what_is_in_flight() {
    let mut client = client(Learning::all());
    client.send(100, at(0));
    let names = crate::bucket::Report {
        maximum_concurrency: Some(100),
        ..crate::bucket::Report::default()
    };
    client.report(16, &names, at(100));
    assert_eq!(limit(&client, 100), Some(100));
    client.end(16);
    for second in 1..600 {
        assert!(round(&mut client, second * 1000) >= 100);
    }
    assert!(client.bucket.lessons(at(600_099)).concurrency.is_some());
    assert_eq!(client.bucket.lessons(at(600_100)).concurrency, None);
    let found = limit(&client, 600_100);
    assert!(found >= Some(100), "{found:?}");
    assert_eq!(round(&mut client, 601_000), found.unwrap() as u64);
    assert_eq!(limit(&client, 602_000), found.map(|limit| 2 * limit));
}

#[test]
fn it_is_forgotten_a_minute_after_its_last_use() {
    let mut client = client(Learning::none());
    round(&mut client, 0);
    assert_eq!(limit(&client, 60_099), Some(32));
    assert!(!client.bucket.is_quiet(crate::bucket::Span(0), at(60_099)));
    assert_eq!(limit(&client, 60_100), Some(32));
    assert!(client.bucket.is_quiet(crate::bucket::Span(0), at(60_100)));
}

#[test]
fn what_is_in_flight_is_not_forgotten() {
    let mut client = client(Learning::none());
    client.send(16, at(0));
    client.succeed(16, at(100));
    client.send(16, at(100));
    assert_eq!(limit(&client, 1000), Some(32));
    // Twice as many as were in flight when the last answer came.
    assert_eq!(limit(&client, 100_000), Some(32));
    client.end(31);
    client.report(32, &crate::bucket::Report::default(), at(100_000));
    assert_eq!(limit(&client, 159_999), Some(32));
    assert_eq!(limit(&client, 160_000), Some(16));
}

#[test]
fn it_needs_permits_and_a_bucket_that_learns() {
    let discover = Learning::all().discover();
    let windows = Enforced {
        permits: false,
        ..BOTH
    };
    let first = |quota: &Quota, face, learns| Rules::new(quota, face, discover, learns).at_first();
    assert_eq!(first(&Quota::unlimited(), BOTH, true), Some(16));
    assert_eq!(first(&Quota::unlimited(), windows, true), None);
    assert_eq!(first(&Quota::unlimited(), BOTH, false), None);
    assert_eq!(first(&Quota::per_second(5), BOTH, true), None);
    assert_eq!(first(&Quota::concurrent(4), BOTH, true), Some(4));
}

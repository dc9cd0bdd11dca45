//! What refusals by rate teach: the server's limit, or that the way there is unsteady.

use super::{
    at,
    learned::{Client, refusal},
};
use crate::{
    Quota,
    bucket::{Refusal, RefusalKind, Span},
};

const SECOND: Span = Span(1_000_000_000);

fn rate() -> Refusal {
    refusal(RefusalKind::Rate, None)
}

/// A refusal that names a limit of `n` in so many seconds.
fn naming(n: u32, seconds: u64) -> Refusal {
    Refusal {
        rate: Some(n),
        period: Some(SECOND.times(seconds)),
        ..rate()
    }
}

#[test]
fn a_named_window_is_learned_if_it_is_not_longer_than_what_is_remembered() {
    for (seconds, learned) in [
        (10, (3, SECOND.times(10), true)),
        (60, (3, SECOND.times(60), true)),
        // As if it had named none.
        (61, (19, SECOND, false)),
    ] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(20, at(0));
        client.refuse(1, &naming(3, seconds), at(0));
        assert_eq!(client.bucket.lessons(at(0)).rate, Some(learned));
    }
}

#[test]
fn a_named_limit_counts_if_it_is_tighter_than_the_configured_one() {
    for (named, learned) in [
        ((3, 1), Some((3, SECOND, true))),
        ((5, 1), None),
        ((8, 1), None),
        // Of the same requests, in a longer time.
        ((5, 10), Some((4, SECOND.times(10), false))),
    ] {
        let mut client = Client::new(&Quota::per_second(5));
        client.send(5, at(0));
        client.refuse(1, &naming(named.0, named.1), at(0));
        let lessons = client.bucket.lessons(at(0));
        assert_eq!(lessons.rate, learned, "{named:?}");
        // What was configured should have sufficed: the way shortened the time between requests.
        let margin = learned.is_none().then_some(50);
        assert_eq!(lessons.margin, margin, "{named:?}");
    }
}

#[test]
fn some_of_a_window_refused_may_be_jitter() {
    // Less than half of a large window, or any part of a small one.
    for (n, refused) in [(10, 4), (7, 6)] {
        let mut client = Client::new(&Quota::per_second(n));
        client.send(n.into(), at(0));
        client.refuse(refused, &rate(), at(0));
        let lessons = client.bucket.lessons(at(0));
        assert_eq!((lessons.rate, lessons.margin), (None, Some(100)), "{n}");
    }
}

#[test]
fn an_overload_teaches_only_those_without_a_window() {
    let overload = refusal(RefusalKind::Overload, None);
    let mut client = Client::new(&Quota::per_second(10));
    client.send(10, at(0));
    client.refuse(8, &overload, at(0));
    let lessons = client.bucket.lessons(at(0));
    assert_eq!((lessons.rate, lessons.margin), (None, None));

    let mut client = Client::new(&Quota::unlimited());
    client.send(10, at(0));
    client.refuse(8, &overload, at(0));
    assert_eq!(client.bucket.lessons(at(0)).rate, Some((2, SECOND, false)));
}

#[test]
fn a_learned_rate_is_lowered_when_no_margin_helps() {
    let mut client = Client::new(&Quota::per_second(10));
    client.send(10, at(0));
    client.refuse(5, &rate(), at(0));
    client.end(10);
    let mut seen = Vec::new();
    for wave in 1..=5 {
        let now = at(10_000 * wave);
        assert_eq!(client.send(100, now), 5);
        client.refuse(1, &rate(), now);
        client.end(5);
        let lessons = client.bucket.lessons(now);
        seen.push((lessons.rate.unwrap().0, lessons.margin));
    }
    assert_eq!(
        seen,
        [
            (5, Some(50)),
            (5, Some(100)),
            (5, Some(200)),
            (5, Some(250)),
            (4, None)
        ]
    );
}

#[test]
fn a_late_refusal_of_the_wave_that_set_the_rate_leaves_the_margin() {
    let mut client = Client::new(&Quota::per_second(10));
    client.send(10, at(0));
    for serial in 1..=5 {
        client.refused(serial, &rate(), at(0));
    }
    client.end(10);
    client.send(5, at(10_000));
    client.refused(11, &rate(), at(10_000));
    client.refused(10, &rate(), at(10_000));
    let lessons = client.bucket.lessons(at(10_000));
    assert_eq!(
        (lessons.rate, lessons.margin),
        (Some((4, SECOND, false)), Some(50))
    );
}

#[test]
fn a_margin_shrinks_while_all_goes_well_until_it_is_gone() {
    let mut client = Client::new(&Quota::per_second(5));
    client.send(5, at(0));
    client.refuse(1, &rate(), at(0));
    client.end(5);
    let mut margins = Vec::new();
    for _ in 0..5 {
        // The last success but one leaves it as it is.
        for _ in 0..199 {
            client.newest += 1;
            client.succeed(1, at(0));
        }
        margins.push(client.bucket.lessons(at(0)).margin);
        client.newest += 1;
        client.succeed(1, at(0));
    }
    margins.push(client.bucket.lessons(at(0)).margin);
    assert_eq!(
        margins,
        [Some(50), Some(40), Some(30), Some(20), Some(10), None]
    );
}

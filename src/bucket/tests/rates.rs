//! What refusals by rate teach: the server's limit, or that the way there is unsteady.

use super::Demand;
use super::{
    at,
    learned::{Client, refusal},
};
use crate::{
    Quota,
    bucket::{Gate, Refusal, RefusalKind, Report, Span},
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
        for serial in client.newest - 4..client.newest {
            client.report(serial, &Report::default(), now);
        }
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

#[test]
fn a_margin_that_was_shrunk_too_far_comes_back_and_shrinks_more_rarely() {
    let mut client = Client::new(&Quota::per_second(5));
    let margin = |client: &Client| client.bucket.lessons(at(0)).margin;
    let succeed = |client: &mut Client, n: u64| {
        for _ in 0..n {
            client.newest += 1;
            client.succeed(1, at(0));
        }
    };
    client.send(5, at(0));
    client.refuse(2, &rate(), at(0));
    // A request that was sent before says nothing of the wider window.
    for _ in 0..200 {
        client.report(1, &Report::default(), at(0));
    }
    assert_eq!(margin(&client), Some(100));
    succeed(&mut client, 200);
    assert_eq!(margin(&client), Some(90));
    client.newest += 1;
    client.refuse(1, &rate(), at(0));
    assert_eq!(margin(&client), Some(100));
    succeed(&mut client, 399);
    assert_eq!(margin(&client), Some(100));
    succeed(&mut client, 1);
    assert_eq!(margin(&client), Some(90));
    client.newest += 1;
    client.refuse(1, &rate(), at(0));
    succeed(&mut client, 799);
    assert_eq!(margin(&client), Some(100));
    succeed(&mut client, 1);
    assert_eq!(margin(&client), Some(90));
}

#[test]
fn two_refusals_of_one_wave_are_more_than_the_first_margin() {
    let mut client = Client::new(&Quota::per_second(5));
    let mut margins = Vec::new();
    for wave in 0..4 {
        let now = at(10_000 * wave);
        client.send(5, now);
        client.refuse(2, &rate(), now);
        client.end(5);
        margins.push(client.bucket.lessons(now).margin);
    }
    // The first only: the others are doubled as they are.
    assert_eq!(margins, [Some(100), Some(200), Some(250), None]);
}

#[test]
fn a_learned_margin_widens_the_windows() {
    let mut client = Client::new(&Quota::per_second(5));
    client.send(5, at(0));
    client.refuse(1, &rate(), at(0));
    client.end(5);
    let gate = client.bucket.gate(&client.rules, &Demand::ONE, at(100));
    assert_eq!(gate, Gate::Until(at(1050)));
}

#[test]
fn a_learned_window_is_kept_to_beyond_what_the_configured_ones_remember() {
    // Five per second, of which the server takes four in any minute, and then more.
    let mut client = Client::new(&Quota::per_second(5));
    client.send(5, at(0));
    client.refuse(1, &naming(100, 60), at(0));
    client.end(5);
    let mut sent = Vec::new();
    for minute in 1..=5 {
        let mut n = 0;
        for second in 0..5 {
            let now = at(60_000 * minute + 1000 * second);
            let more = client.send(100, now);
            client.end(more);
            n += more;
        }
        client.succeed(n, at(60_000 * minute + 5000));
        sent.push(n);
    }
    // Each minute is long enough to try more.
    assert_eq!(sent, [5, 7, 11, 19, 25]);
}

#[test]
fn the_period_of_a_refusal_is_named_or_a_second_or_what_much_was_accepted_in() {
    let of_kind = |kind, seconds: u64| refusal(kind, Some(1000 * seconds));
    let much = 9;
    for (sent, refusal, learned) in [
        (much, rate(), 1),
        (much, of_kind(RefusalKind::Rate, 10), 10),
        (much, of_kind(RefusalKind::Rate, 60), 60),
        // Longer than what is remembered.
        (much, of_kind(RefusalKind::Rate, 61), 1),
        // Of so few nobody knows whether the delay is the period.
        (much - 1, of_kind(RefusalKind::Rate, 60), 1),
        // For how long a server is busy says nothing about a window.
        (much, of_kind(RefusalKind::Overload, 10), 1),
    ] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(sent, at(0));
        client.end(sent);
        client.refuse(1, &refusal, at(0));
        let (n, period, _) = client.bucket.lessons(at(0)).rate.unwrap();
        assert_eq!(
            (u64::from(n), period),
            (sent - 1, SECOND.times(learned)),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_lone_refusal_of_few_requests_teaches_no_rate() {
    for (sent, delay) in [
        (1, Some(60_000)),
        (7, Some(1000)),
        (7, None),
        (2, Some(10_000)),
    ] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(sent, at(0));
        client.end(sent);
        client.refuse(1, &refusal(RefusalKind::Rate, delay), at(0));
        assert_eq!(client.bucket.lessons(at(0)).rate, None, "{sent} {delay:?}");
    }
}

#[test]
fn a_wave_of_which_nothing_was_accepted_teaches_no_rate() {
    for (sent, delay) in [
        (1, Some(60_000)),
        (20, Some(60_000)),
        (20, None),
        (200, Some(1000)),
    ] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(sent, at(0));
        client.refuse(sent, &refusal(RefusalKind::Rate, delay), at(0));
        assert_eq!(client.bucket.lessons(at(0)).rate, None, "{sent} {delay:?}");
    }
    // A limit that was known before stays as it was.
    let mut client = Client::new(&Quota::unlimited());
    client.send(20, at(0));
    client.end(20);
    client.refuse(10, &rate(), at(0));
    client.send(10, at(10_000));
    client.end(10);
    client.refuse(10, &refusal(RefusalKind::Rate, Some(5000)), at(10_000));
    let (n, ..) = client.bucket.lessons(at(10_000)).rate.unwrap();
    assert_eq!(n, 10);
}

/// Of what is learned in minutes, too: see [`Learning::rate`](crate::Learning::rate).
#[test]
fn a_rate_is_given_back_by_time_as_well() {
    for (accepted, seconds) in [(9, 60), (20, 60), (40, 30)] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(accepted + 1, at(0));
        client.end(accepted + 1);
        client.refuse(1, &refusal(RefusalKind::Rate, Some(1000 * seconds)), at(0));
        let mut sent = 0;
        for second in seconds..seconds + 180 {
            let now = at(1000 * second);
            let n = client.send(1000, now);
            client.succeed(n, now);
            client.end(n);
            sent += n;
        }
        // 1 000 requests per second are wanted, and the server takes them all.
        assert!(sent > 5000, "{accepted} per {seconds} s: {sent}");
    }
}

#[test]
fn what_was_sent_in_the_configured_period_is_what_was_too_much() {
    let mut client = Client::new(&Quota::per(10, std::time::Duration::from_secs(10)));
    client.send(5, at(0));
    client.send(5, at(2000));
    client.refuse(5, &rate(), at(2000));
    assert_eq!(
        client.bucket.lessons(at(2000)).rate,
        Some((5, SECOND.times(10), false))
    );
}

#[test]
fn only_what_was_sent_within_the_period_was_too_much() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(7, at(0));
    client.send(9, at(2000));
    // Admitted, and not sent yet: the refusal is not about these.
    client.bucket.take_places(1);
    client.bucket.take_places(1);
    client.refuse(1, &rate(), at(2000));
    let lessons = client.bucket.lessons(at(2000));
    assert_eq!(lessons.rate, Some((8, SECOND, false)));
}

#[test]
fn of_a_minute_without_a_window_a_bounded_number_is_remembered() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(70_000, at(0));
    client.refuse(1, &rate(), at(0));
    let lessons = client.bucket.lessons(at(0));
    assert_eq!(lessons.rate, Some((65_535, SECOND, false)));
}

#[test]
fn an_answer_may_come_a_quarter_of_the_period_late() {
    for (late, raised) in [(1249, 8), (1251, 7)] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(8, at(0));
        client.end(8);
        client.refuse(1, &rate(), at(1));
        for round in 1..=2 {
            assert_eq!(client.send(100, at(5_000 * round)), 7);
            client.succeed(7, at(5_000 * round + late));
            client.end(7);
        }
        let (n, ..) = client.bucket.lessons(at(15_000)).rate.unwrap();
        assert_eq!(n, raised, "{late}");
    }
}

/// Ten thousand in a minute is what large APIs allow, and name.
#[test]
fn a_large_limit_that_is_named_is_kept_to() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(10_500, at(0));
    client.refuse(500, &naming(10_000, 60), at(0));
    client.end(10_500);
    let later = at(360_000);
    assert_eq!(client.send(20_000, later), 10_000);
    assert_eq!(client.send(1, at(360_000 + 59_999)), 0);
    assert_eq!(client.send(20_000, at(360_000 + 60_000)), 10_000);
}

/// Tokens are no requests: only the delay is everybody's.
#[test]
fn what_is_refused_for_another_unit_pauses_and_teaches_nothing() {
    for quota in [
        Quota::unlimited(),
        Quota::per_second(10),
        Quota::per_minute(10).concurrency(20),
    ] {
        for (delay, pause) in [(Some(3000), 3000), (None, 250)] {
            let mut client = Client::new(&quota);
            client.send(10, at(0));
            client.refuse(8, &refusal(RefusalKind::OtherUnit, delay), at(0));
            let lessons = client.bucket.lessons(at(0));
            assert_eq!(
                lessons,
                crate::bucket::lessons::Lessons::default(),
                "{quota:?}"
            );
            assert_eq!(client.bucket.paused_until(), at(pause), "{quota:?}");
        }
    }
}

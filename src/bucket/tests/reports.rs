//! What successes tell of the server's limits.

use super::{
    BOTH, at,
    learned::{Client, refusal},
};
use crate::{
    Quota,
    bucket::{Enforced, Learning, RefusalKind, Report, Rules, Span},
};

const SECOND: Span = Span(1_000_000_000);

fn maximum(limit: u32) -> Report {
    Report {
        maximum_concurrency: Some(limit),
        ..Report::default()
    }
}

#[test]
fn a_success_may_name_the_limit() {
    let mut client = Client::new(&Quota::concurrent(10));
    client.send(1, at(0));
    client.report(1, &maximum(4), at(0));
    assert_eq!(client.bucket.lessons(at(0)).concurrency, Some((4, true)));
}

#[test]
fn who_was_sent_before_the_refusals_raises_no_limit() {
    for (serial, named, learned) in [
        // Of the last wave: not more, but as many, or fewer.
        (5, 3, (2, false)),
        (5, 2, (2, true)),
        (5, 1, (1, true)),
        // Sent since.
        (6, 3, (3, true)),
        (6, 1, (1, true)),
    ] {
        let mut client = Client::new(&Quota::concurrent(10));
        client.send(5, at(0));
        client.refuse(3, &refusal(RefusalKind::Concurrency(None), None), at(0));
        client.end(5);
        client.send(1, at(0));
        client.report(serial, &maximum(named), at(0));
        let lessons = client.bucket.lessons(at(0));
        assert_eq!(lessons.concurrency, Some(learned), "{serial} {named}");
    }
}

fn empty() -> Report {
    Report {
        empty_for: Some(SECOND),
        counts: true,
        ..Report::default()
    }
}

fn paced() -> Report {
    Report {
        pace: Some((SECOND, SECOND.times(10))),
        counts: true,
        ..Report::default()
    }
}

#[test]
fn a_report_is_empty_if_it_says_nothing() {
    assert!(Report::default().is_empty());
    for report in [maximum(4), empty(), paced()] {
        assert!(!report.is_empty(), "{report:?}");
    }
}

#[test]
fn news_is_what_narrows() {
    let rules = Rules::new(&Quota::concurrent(4), BOTH, Learning::all(), true);
    for (report, news) in [
        (Report::default(), false),
        (maximum(3), true),
        (maximum(4), false),
        (maximum(5), false),
        (empty(), true),
        (paced(), true),
    ] {
        assert_eq!(report.is_news(&rules), news, "{report:?}");
    }
    let unlimited = Rules::new(&Quota::unlimited(), BOTH, Learning::all(), true);
    assert!(maximum(1_000_000).is_news(&unlimited));
}

#[test]
fn no_report_asks_for_more_than_the_ceiling() {
    let ceiling = SECOND.times(5);
    let report = Report {
        maximum_concurrency: Some(4),
        empty_for: Some(SECOND.times(60)),
        pace: Some((SECOND.times(20), SECOND.times(60))),
        counts: true,
        ..Report::default()
    };
    let cut = report.at_most(ceiling);
    assert_eq!(cut.empty_for, Some(ceiling));
    // Until the reset nobody is paced for longer than anybody is paused.
    assert_eq!(cut.pace, None);
    assert_eq!((cut.maximum_concurrency, cut.counts), (Some(4), true));
    let report = paced().at_most(SECOND.times(10));
    assert_eq!(report.pace, paced().pace);
    assert_eq!(empty().at_most(ceiling).empty_for, Some(SECOND));
}

#[test]
fn a_pace_stays_until_an_answer_counts_again() {
    let mut client = Client::new(&Quota::per_second(100));
    client.send(1, at(0));
    client.report(1, &paced(), at(0));
    let pace = |client: &Client| client.bucket.lessons(at(0)).pace;
    client.report(1, &Report::default(), at(0));
    assert_eq!(pace(&client), Some(SECOND));
    let plenty = Report {
        counts: true,
        ..Report::default()
    };
    client.report(1, &plenty, at(0));
    assert_eq!(pace(&client), None);
}

#[test]
fn too_many_at_once_is_news_for_those_who_count_or_are_told_to_wait() {
    let windows = Enforced {
        windows: true,
        permits: false,
    };
    for (kind, hint, face, concerned) in [
        (RefusalKind::Concurrency(Some(4)), None, BOTH, true),
        (RefusalKind::Concurrency(Some(4)), None, windows, false),
        (RefusalKind::Concurrency(Some(4)), Some(100), windows, true),
        (RefusalKind::Rate, None, windows, true),
        (RefusalKind::Overload, None, windows, true),
    ] {
        let refusal = refusal(kind, hint);
        assert_eq!(refusal.concerns(face), concerned, "{refusal:?} {face:?}");
    }
}

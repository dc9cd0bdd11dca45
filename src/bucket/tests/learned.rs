//! What refusals teach, one fact each.

use std::time::Duration;

use proptest::prelude::*;

use super::{BOTH, Demand, at};
use crate::{
    Quota,
    bucket::{Bucket, Gate, Learning, Refusal, RefusalKind, Report, Rules, Span, Tick},
};

const MINUTE: Span = Span(60_000_000_000);

fn rules(quota: &Quota) -> Rules {
    Rules::new(quota, BOTH, Learning::all(), true)
}

pub(super) fn refusal(kind: RefusalKind, retry_after: Option<u64>) -> Refusal {
    Refusal {
        kind,
        retry_after: retry_after.map(|millis| Duration::from_millis(millis).into()),
        rate: None,
        period: None,
        ceiling: MINUTE,
        random: 0.0,
    }
}

/// A bucket, its rules, and the number of the last request.
pub(super) struct Client {
    pub(super) bucket: Bucket,
    pub(super) rules: Rules,
    pub(super) newest: u64,
}

impl Client {
    pub(super) fn new(quota: &Quota) -> Self {
        Self {
            bucket: Bucket::default(),
            rules: rules(quota),
            newest: 0,
        }
    }

    /// Dispatches as many as there is room for, at most `n`; returns how many.
    pub(super) fn send(&mut self, n: u64, now: Tick) -> u64 {
        for sent in 0..n {
            let open = self.bucket.gate(&self.rules, &Demand::ONE, now) == Gate::Open;
            assert_eq!(self.bucket.is_open(&self.rules, now), open);
            if !open {
                return sent;
            }
            self.bucket.take_places(1);
            self.bucket.take_permits(1);
            self.bucket.stamp(&self.rules, 1, now);
            self.newest += 1;
        }
        n
    }

    /// The last `n` requests but `skip` are refused.
    pub(super) fn refuse(&mut self, n: u64, refusal: &Refusal, now: Tick) {
        for serial in (1..=self.newest).rev().take(usize::try_from(n).unwrap()) {
            let number = (serial, self.newest);
            self.bucket.refused(refusal, BOTH, &self.rules, number, now);
        }
    }

    /// The last `n` requests are answered well, and end.
    pub(super) fn succeed(&mut self, n: u64, now: Tick) {
        for serial in (1..=self.newest).rev().take(usize::try_from(n).unwrap()) {
            let number = (serial, self.newest);
            self.bucket
                .succeeded(&Report::default(), BOTH, &self.rules, number, now);
        }
    }

    /// One answer that was no refusal.
    pub(super) fn report(&mut self, serial: u64, report: &Report, now: Tick) {
        let number = (serial, self.newest);
        self.bucket
            .succeeded(report, BOTH, &self.rules, number, now);
    }

    /// One refusal.
    pub(super) fn refused(&mut self, serial: u64, refusal: &Refusal, now: Tick) {
        let number = (serial, self.newest);
        self.bucket.refused(refusal, BOTH, &self.rules, number, now);
    }

    pub(super) fn end(&mut self, n: u64) {
        (0..n).for_each(|_| self.bucket.release_permits(1));
    }
}

#[test]
fn a_hint_pauses_for_as_long_as_it_says() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(1, at(0));
    client.refuse(1, &refusal(RefusalKind::Rate, Some(2000)), at(100));
    assert_eq!(client.bucket.paused_until(), at(2100));
}

#[test]
fn a_delay_that_is_heard_of_before_the_rest_pauses_at_once() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(1, at(0));
    let refusal = refusal(RefusalKind::Rate, Some(2000));
    client.bucket.asked_to_wait(&refusal, at(100));
    assert_eq!(client.bucket.paused_until(), at(2100));
}

#[test]
fn jitter_is_only_ever_added() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(1, at(0));
    let late = Refusal {
        random: 0.999,
        ..refusal(RefusalKind::Rate, Some(2000))
    };
    client.refuse(1, &late, at(0));
    assert!(client.bucket.paused_until() > at(2000));
    assert!(client.bucket.paused_until() < at(2100));
}

#[test]
fn jitter_is_a_quarter_of_a_second_at_most() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(1, at(0));
    let late = Refusal {
        random: 0.5,
        ..refusal(RefusalKind::Rate, Some(60_000))
    };
    client.refuse(1, &late, at(0));
    assert_eq!(client.bucket.paused_until(), at(60_250));
}

#[test]
fn a_shorter_hint_does_not_shorten_a_pause() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(2, at(0));
    client.refuse(1, &refusal(RefusalKind::Rate, Some(9000)), at(0));
    client.refuse(1, &refusal(RefusalKind::Rate, Some(1000)), at(0));
    assert_eq!(client.bucket.paused_until(), at(9000));
}

#[test]
fn a_server_that_asks_for_longer_than_the_ceiling_is_probed_after_that() {
    let quota = Quota::unlimited();
    let mut client = Client::new(&quota);
    client.send(1, at(0));
    client.refuse(1, &refusal(RefusalKind::Rate, Some(86_400_000)), at(0));
    assert_eq!(client.bucket.paused_until(), at(86_400_000));
    assert!(client.bucket.is_closed(at(86_399_999)));
    assert!(!client.bucket.is_closed(at(86_400_000)));
    let may_probe = |at| {
        client
            .bucket
            .is_open_to_probe(&client.rules, &Demand::ONE, at)
    };
    assert!(!may_probe(at(59_999)));
    assert!(may_probe(at(60_000)));
}

#[test]
fn a_wave_is_one_pause() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(100, at(0));
    client.refuse(100, &refusal(RefusalKind::Rate, None), at(0));
    let first = client.bucket.paused_until();
    assert!(first > at(0) && first <= at(500), "{first:?}");
}

#[test]
fn waves_in_a_row_back_off_twice_as_long_each() {
    let mut client = Client::new(&Quota::unlimited());
    let mut pauses = Vec::new();
    for minute in 0..4 {
        let now = at(60_000 * minute);
        client.send(3, now);
        client.refuse(3, &refusal(RefusalKind::Overload, None), now);
        pauses.push(client.bucket.paused_until().since(now).as_millis());
    }
    // Half of 500 ms at least; the random half is zero here. Once something is known of the rate, a
    // quarter of a tenth of it would do, but the server is busy, so the base stays.
    assert_eq!(pauses, [250, 500, 1000, 2000]);
}

#[test]
fn a_request_of_the_wave_before_ends_no_row_of_waves() {
    let mut client = Client::new(&Quota::unlimited());
    let overload = refusal(RefusalKind::Overload, None);
    client.send(2, at(0));
    client.refused(1, &overload, at(0));
    client.send(1, at(10_000));
    client.refused(3, &overload, at(10_000));
    // It was sent before the second wave, so it says nothing of how the server is now.
    client.report(2, &Report::default(), at(10_000));
    client.send(1, at(20_000));
    client.refused(4, &overload, at(20_000));
    assert_eq!(client.bucket.paused_until(), at(21_000));
}

#[test]
fn a_success_of_the_wave_that_is_refused_ends_the_row() {
    let mut client = Client::new(&Quota::unlimited());
    let overload = refusal(RefusalKind::Overload, None);
    client.send(1, at(0));
    client.refused(1, &overload, at(0));
    client.end(1);
    client.send(1, at(10_000));
    client.send(1, at(20_000));
    client.refused(3, &overload, at(20_000));
    assert_eq!(client.bucket.paused_until(), at(20_500));
    client.report(2, &Report::default(), at(20_000));
    client.send(1, at(30_000));
    client.refused(4, &overload, at(30_000));
    assert_eq!(client.bucket.paused_until(), at(30_250));
}

#[test]
fn the_last_request_of_a_wave_belongs_to_it() {
    let mut client = Client::new(&Quota::unlimited());
    client.send(2, at(0));
    client.refused(1, &refusal(RefusalKind::Overload, None), at(0));
    client.refused(2, &refusal(RefusalKind::Overload, None), at(100));
    assert_eq!(client.bucket.paused_until(), at(250));
}

#[test]
fn where_the_window_is_known_it_does_most_of_the_waiting() {
    let rate = refusal(RefusalKind::Rate, None);
    // Known from the configuration; what the refusal itself suggests is not known yet.
    for (quota, pause) in [(Quota::per_second(5), 25), (Quota::unlimited(), 250)] {
        let mut client = Client::new(&quota);
        client.send(2, at(0));
        client.refused(1, &rate, at(0));
        assert_eq!(client.bucket.paused_until(), at(pause), "{quota:?}");
        // The rest of the wave is no further news.
        client.refused(2, &rate, at(10));
        assert_eq!(client.bucket.paused_until(), at(pause), "{quota:?}");
    }
}

#[test]
fn where_no_window_is_known_the_back_off_does_it_all() {
    let mut client = Client::new(&Quota::unlimited());
    client.rules = Rules::new(&Quota::unlimited(), BOTH, Learning::all().rate(false), true);
    client.send(1, at(0));
    client.refused(1, &refusal(RefusalKind::Rate, None), at(0));
    assert_eq!(client.bucket.paused_until(), at(250));
}

#[test]
fn half_of_a_back_off_is_certain_and_half_is_random() {
    for (random, pause) in [(0.0, 250), (0.5, 375)] {
        let mut client = Client::new(&Quota::unlimited());
        client.send(1, at(0));
        let overload = Refusal {
            random,
            ..refusal(RefusalKind::Overload, None)
        };
        client.refused(1, &overload, at(0));
        assert_eq!(client.bucket.paused_until(), at(pause));
    }
}

#[test]
fn what_was_accepted_of_a_wave_is_the_rate() {
    let mut client = Client::new(&Quota::unlimited());
    assert_eq!(client.send(200, at(0)), 200);
    client.refuse(180, &refusal(RefusalKind::Rate, Some(1000)), at(20));
    client.end(200);
    assert_eq!(
        client.bucket.lessons(at(0)).rate,
        Some((20, Span(1_000_000_000), false))
    );
    // Waiting requests are let through at that pace.
    assert_eq!(client.send(200, at(1020)), 20);
    assert_eq!(client.send(200, at(2019)), 0);
    assert_eq!(client.send(200, at(2020)), 20);
}

#[test]
fn the_order_of_a_waves_answers_does_not_matter() {
    for early in [0, 5, 20] {
        let mut client = Client::new(&Quota::concurrent(50));
        client.send(50, at(0));
        client.end(early);
        client.refuse(30, &refusal(RefusalKind::Concurrency(None), None), at(10));
        let (limit, named) = client.bucket.lessons(at(0)).concurrency.unwrap();
        // Those that had ended before the news came were not in flight.
        assert_eq!((limit as u64, named), (20 - early.min(19), false));
    }
}

#[test]
fn a_named_limit_is_taken_at_its_word() {
    let mut client = Client::new(&Quota::concurrent(10));
    client.send(10, at(0));
    client.refuse(6, &refusal(RefusalKind::Concurrency(Some(4)), None), at(0));
    assert_eq!(client.bucket.lessons(at(0)).concurrency, Some((4, true)));
    assert_eq!(client.bucket.concurrency(&client.rules, at(0)), Some(4));
}

#[test]
fn a_named_limit_above_the_configured_one_changes_nothing() {
    let mut client = Client::new(&Quota::concurrent(3));
    client.send(3, at(0));
    let report = Report {
        maximum_concurrency: Some(10),
        ..Report::default()
    };
    client
        .bucket
        .succeeded(&report, BOTH, &client.rules, (1, 3), at(0));
    assert_eq!(client.bucket.lessons(at(0)).concurrency, None);
    assert_eq!(client.bucket.concurrency(&client.rules, at(0)), Some(3));
}

#[test]
fn too_many_at_once_is_no_reason_to_pause_while_something_is_in_flight() {
    let mut client = Client::new(&Quota::concurrent(10));
    client.send(2, at(0));
    client.refuse(1, &refusal(RefusalKind::Concurrency(None), None), at(0));
    assert_eq!(client.bucket.paused_until(), Tick::NONE);
    // With nothing in flight there is no completion to wait for.
    client.end(1);
    client.newest += 1;
    client.refuse(1, &refusal(RefusalKind::Concurrency(None), None), at(0));
    assert!(client.bucket.paused_until() > at(0));
}

#[test]
fn a_margin_is_learned_once_per_wave() {
    let mut client = Client::new(&Quota::per_second(5));
    let mut margins = Vec::new();
    for wave in 0..5 {
        let now = at(10_000 * wave);
        assert_eq!(client.send(10, now), 5);
        client.refuse(1, &refusal(RefusalKind::Rate, None), now);
        client.end(5);
        margins.push(client.bucket.lessons(at(0)).margin.unwrap_or(0));
    }
    // Beyond a quarter of the period it is not the way's fault: then the rate is lower.
    assert_eq!(margins, [50, 100, 200, 250, 0]);
    assert_eq!(
        client.bucket.lessons(at(0)).rate,
        Some((4, Span(1_000_000_000), false))
    );
}

#[test]
fn half_of_a_large_window_refused_is_no_jitter() {
    let mut client = Client::new(&Quota::per_second(10));
    client.send(10, at(0));
    client.refuse(5, &refusal(RefusalKind::Rate, None), at(0));
    let lessons = client.bucket.lessons(at(0));
    assert_eq!(lessons.rate, Some((5, Span(1_000_000_000), false)));
    assert_eq!(lessons.margin, None);
}

#[test]
fn a_rate_recovers_faster_and_faster_while_all_goes_well() {
    let quota = Quota::per_second(100);
    let mut client = Client::new(&quota);
    client.rules = Rules::new(&quota, BOTH, Learning::all().concurrency(false), true);
    client.send(100, at(0));
    client.refuse(90, &refusal(RefusalKind::Rate, None), at(0));
    client.end(100);
    let mut sent = Vec::new();
    for second in 2..20 {
        let now = at(1000 * second);
        let n = client.send(1000, now);
        client.succeed(n, now);
        client.end(n);
        sent.push(n);
    }
    assert_eq!(sent[..8], [10, 10, 11, 13, 17, 25, 41, 73]);
    // Back at what was configured, the lesson is gone.
    assert_eq!(sent[8], 100);
    assert_eq!(client.bucket.lessons(at(0)).rate, None);
}

#[test]
fn trying_grows_rarer_while_it_fails() {
    let quota = Quota::unlimited();
    let mut client = Client::new(&quota);
    client.rules = Rules::new(&quota, BOTH, Learning::all().concurrency(false), true);
    client.send(30, at(0));
    client.refuse(20, &refusal(RefusalKind::Rate, None), at(0));
    client.end(30);
    let mut tried = Vec::new();
    for second in 2..400 {
        let now = at(1000 * second);
        let n = client.send(1000, now);
        let accepted = n.min(10);
        for serial in client.newest - n + 1..=client.newest - n + accepted {
            let number = (serial, client.newest);
            client
                .bucket
                .succeeded(&Report::default(), BOTH, &client.rules, number, now);
        }
        if n > accepted {
            client.refuse(n - accepted, &refusal(RefusalKind::Rate, None), now);
            tried.push(second);
        }
        client.end(n);
    }
    let pauses: Vec<_> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..5], [5, 9, 17, 33, 49]);
    assert!(pauses[5..].iter().all(|&pause| pause == 49));
}

#[test]
fn lessons_are_forgotten_after_ten_minutes() {
    let mut client = Client::new(&Quota::per_second(5));
    client.send(5, at(0));
    client.refuse(1, &refusal(RefusalKind::Rate, None), at(0));
    client.end(5);
    let longest = client.rules.longest();
    assert!(client.bucket.has_learned());
    assert!(!client.bucket.is_quiet(longest, at(599_999)));
    assert!(client.bucket.is_quiet(longest, at(600_000)));
    client.send(1, at(600_000));
    client.succeed(1, at(600_000));
    assert!(!client.bucket.has_learned());
}

#[test]
fn what_is_switched_off_is_not_learned() {
    let quota = Quota::per_second(5).concurrency(5);
    let mut client = Client::new(&quota);
    client.rules = Rules::new(&quota, BOTH, Learning::none(), true);
    client.send(5, at(0));
    client.refuse(4, &refusal(RefusalKind::Rate, Some(1000)), at(0));
    client.refuse(4, &refusal(RefusalKind::Concurrency(Some(1)), None), at(0));
    let lessons = client.bucket.lessons(at(0));
    assert_eq!(
        (lessons.concurrency, lessons.rate, lessons.margin),
        (None, None, None)
    );
    // A pause is no lesson.
    assert_eq!(client.bucket.paused_until(), at(1000));
}

/// Four are left for two seconds, and as many wait.
fn little() -> Report {
    Report {
        pace: Some((Span(500_000_000), Span(2_000_000_000))),
        counts: true,
        left: 4,
        waiting: 4,
        ..Report::default()
    }
}

#[test]
fn what_is_left_goes_at_once_while_nobody_knows_whether_headers_are_kept_to() {
    let mut client = Client::new(&Quota::per_second(100));
    client.send(1, at(0));
    client.report(1, &little(), at(0));
    client.send(4, at(1));
    assert_eq!(client.newest, 5);
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(1)),
        Gate::Until(at(2000))
    );
    let pace = |now| client.bucket.lessons(now).pace;
    assert_eq!(pace(at(1999)), Some(Span(500_000_000)));
    assert_eq!(pace(at(2000)), None);
    // What was said about this window says nothing of the next.
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(2000)),
        Gate::Open
    );
}

#[test]
fn headers_that_are_kept_to_slow_a_bucket_before_it_runs_dry() {
    let mut client = Client::new(&Quota::per_second(100));
    client.send(1, at(0));
    let empty = Report {
        empty_for: Some(Span(1_000_000_000)),
        counts: true,
        ..Report::default()
    };
    client.report(1, &empty, at(0));
    // The probe is refused.
    client.send(1, at(500));
    client.refused(2, &refusal(RefusalKind::Overload, None), at(500));
    client.send(1, at(2000));
    client.report(3, &little(), at(2000));
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(2001)),
        Gate::Until(at(2500))
    );
    client.send(1, at(3800));
    assert_eq!(
        client.bucket.gate(&client.rules, &Demand::ONE, at(4000)),
        Gate::Open
    );
}

proptest! {
    /// Whatever is learned, a bucket never lets through more than was configured, never pauses for
    /// longer than the ceiling, and never shuts for good.
    #[test]
    fn lessons_only_narrow(
        n in 1u32..12,
        limit in 1usize..8,
        events in proptest::collection::vec((0u64..2000, 0u8..8, 0u64..20, 0.0f64..1.0), 1..60),
    ) {
        let quota = Quota::per_second(n).concurrency(limit);
        let mut client = Client::new(&quota);
        let configured = Rules::new(&quota, BOTH, Learning::none(), true);
        let mut plain = Bucket::default();
        let mut now = 0;
        for (step, what, count, random) in events {
            now += step;
            let time = at(now);
            let before = client.newest;
            client.send(count, time);
            for _ in before..client.newest {
                prop_assert_eq!(plain.gate(&configured, &Demand::ONE, time), Gate::Open);
                plain.take_places(1);
                plain.take_permits(1);
                plain.stamp(&configured, 1, time);
            }
            let sent = client.newest - before;
            let kind = match what {
                0 | 1 => RefusalKind::Rate,
                2 => RefusalKind::Concurrency(None),
                3 => RefusalKind::Concurrency(Some(u32::try_from(count).unwrap())),
                4 => RefusalKind::Overload,
                _ => {
                    client.succeed(sent, time);
                    client.end(sent);
                    (0..sent).for_each(|_| plain.release_permits(1));
                    continue;
                }
            };
            let hint = (what % 2 == 1).then_some(count * 700);
            let refusal = Refusal { random, ..refusal(kind, hint.filter(|&hint| hint > 0)) };
            client.refuse(sent, &refusal, time);
            client.end(sent);
            (0..sent).for_each(|_| plain.release_permits(1));
            let pause = client.bucket.paused_until().since(time);
            prop_assert!(pause <= Duration::from_millis(60_250), "{:?}", pause);
            prop_assert!(client.bucket.concurrency(&client.rules, at(0)).unwrap() >= 1);
        }
        // With nothing in flight it opens by itself.
        let opens = client.bucket.slot(&client.rules, &Demand::ONE, 0, at(now), at(now));
        prop_assert!(opens.since(at(now)) <= Duration::from_secs(150), "{:?}", opens.since(at(now)));
    }
}

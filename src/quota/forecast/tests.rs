use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

/// A limit of the oracle: for how long it counts what a request takes, from the dispatch on.
#[derive(Clone, Copy, Debug)]
struct Judged {
    n: u64,
    taken: u64,
    counted: Duration,
}

impl Judged {
    /// Whether what it counts at an instant leaves room for one more.
    fn has_room(&self, sent: &[Duration], at: Duration) -> bool {
        let counted = sent
            .iter()
            .filter(|&&sent| sent <= at && at < sent + self.counted);
        counted.count() as u64 * self.taken + self.taken <= self.n
    }
}

/// The dispatches of a list scheduler: each request at the first instant, from the dispatch before it on, at which
/// every limit has room. What a limit counts falls only where a request stops being counted.
fn dispatches(limits: &[Judged], requests: usize) -> Option<Vec<Duration>> {
    let mut sent: Vec<Duration> = Vec::new();
    for _ in 0..requests {
        let now = sent.last().copied().unwrap_or_default();
        let ends = limits
            .iter()
            .flat_map(|limit| sent.iter().map(|&sent| sent + limit.counted));
        let mut instants: Vec<_> = ends.filter(|&end| end > now).chain([now]).collect();
        instants.sort();
        let has_room = |at: &Duration| limits.iter().all(|limit| limit.has_room(&sent, *at));
        let at = instants.into_iter().find(has_room)?;
        sent.push(at);
    }
    Some(sent)
}

/// One case: a quota, its limits as the oracle judges them, and what is asked.
#[derive(Clone, Debug)]
struct Case {
    quota: Quota,
    cost: Cost,
    work: Duration,
    requests: u64,
    /// In the order of the quota.
    limits: Vec<(QuotaLimit, Judged)>,
}

impl Case {
    fn forecast(&self) -> Forecast {
        self.quota.forecast(self.requests, self.work, &self.cost)
    }

    /// The oracle's makespan with some limits changed or left out; `None` if a request never fits.
    fn makespan(&self, change: impl Fn(usize, Judged) -> Option<Judged>) -> Option<Duration> {
        let limits = self.limits.iter().enumerate();
        let limits: Vec<_> = limits
            .filter_map(|(index, (_, judged))| change(index, *judged))
            .collect();
        let sent = dispatches(&limits, usize::try_from(self.requests).unwrap())?;
        Some(sent.last().map_or(Duration::ZERO, |last| *last + self.work))
    }
}

/// Times in whole microseconds, so that a nanosecond is little.
fn times(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_micros)
}

fn cases() -> impl Strategy<Value = Case> {
    let unit = select(vec![
        Unit::REQUESTS,
        Unit::REQUESTS,
        Unit::TOKENS,
        Unit::CREDITS,
        Unit::OUTPUT_TOKENS,
    ]);
    // Few different times, so that limits often tie.
    let period = || {
        prop_oneof![
            times(1..30),
            select(vec![60, 120, 600]).prop_map(Duration::from_micros)
        ]
    };
    let windows = vec((unit, 1..40u64, period()), 0..5);
    let costs = (
        option::of(0..3u32),
        option::of(0..3usize),
        vec(option::of(0..12u64), 3),
    );
    let others = (
        option::of(1..8usize),
        option::of(times(1..5)),
        times(0..40),
        0..60u64,
    );
    (windows, costs, others).prop_map(|(windows, costs, others)| {
        let ((requests_each, permits, of_units), (at_once, margin, work, requests)) =
            (costs, others);
        let mut cost = Cost::new();
        if let Some(n) = requests_each {
            cost = cost.requests(n);
        }
        if let Some(n) = permits {
            cost = cost.permits(n);
        }
        for (unit, n) in [Unit::TOKENS, Unit::CREDITS, Unit::OUTPUT_TOKENS]
            .into_iter()
            .zip(of_units)
        {
            if let Some(n) = n {
                cost = cost.of(unit, n);
            }
        }
        let mut quota = Quota::unlimited();
        let mut limits = Vec::new();
        for &(unit, n, period) in &windows {
            quota = quota.units(unit, n, period);
            let same = windows.iter().filter(|(other, ..)| *other == unit);
            let assumed = if unit == Unit::REQUESTS {
                1
            } else {
                (same.map(|(_, n, _)| *n).min().unwrap() / 8).max(1)
            };
            let until_settled = if unit == Unit::OUTPUT_TOKENS {
                work
            } else {
                Duration::ZERO
            };
            let judged = Judged {
                n,
                taken: cost.get(unit).unwrap_or(assumed),
                counted: until_settled + period + margin.unwrap_or_default(),
            };
            limits.push((QuotaLimit::Window(quota.windows().last().unwrap()), judged));
        }
        if let Some(margin) = margin {
            quota = quota.margin(margin);
        }
        if let Some(n) = at_once {
            quota = quota.concurrency(n);
            let judged = Judged {
                n: n as u64,
                taken: permits.unwrap_or(1) as u64,
                counted: work,
            };
            limits.push((QuotaLimit::Concurrency(n), judged));
        }
        Case {
            quota,
            cost,
            work,
            requests,
            limits,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_makespan_is_that_of_a_list_scheduler(case in cases()) {
        let forecast = case.forecast();
        let Some(makespan) = case.makespan(|_, judged| Some(judged)) else {
            prop_assert!(forecast.never_fits() && !forecast.is_exact());
            prop_assert_eq!(forecast.makespan(), Duration::MAX);
            let too_small = case.limits.iter().filter(|(_, judged)| judged.taken > judged.n);
            let too_small: Vec<_> = too_small.map(|(limit, _)| *limit).collect();
            prop_assert_eq!(forecast.binding(), too_small);
            return Ok(());
        };
        prop_assert!(!forecast.never_fits() && forecast.is_exact());
        prop_assert_eq!(forecast.makespan(), makespan);
        if case.requests > 0 {
            prop_assert_eq!(forecast.last_dispatch() + case.work, makespan);
        }
    }

    #[test]
    fn a_limit_is_binding_if_a_longer_hold_makes_the_batch_longer(case in cases()) {
        let forecast = case.forecast();
        let Some(makespan) = case.makespan(|_, judged| Some(judged)) else { return Ok(()) };
        let mut binding = Vec::new();
        for (which, (limit, _)) in case.limits.iter().enumerate() {
            let longer = case.makespan(|index, mut judged| {
                // One that counts for no time at all waits for nothing.
                if index == which && !judged.counted.is_zero() {
                    judged.counted += Duration::from_nanos(1);
                }
                Some(judged)
            });
            if longer.unwrap() > makespan {
                binding.push(*limit);
            }
        }
        prop_assert_eq!(forecast.binding(), &*binding);

        let is_named = |index: usize| binding.contains(&case.limits[index].0);
        let with_the_named = case.makespan(|index, judged| is_named(index).then_some(judged));
        prop_assert_eq!(with_the_named, Some(makespan));
        let without_the_named = case.makespan(|index, judged| (!is_named(index)).then_some(judged));
        prop_assert_eq!(without_the_named < Some(makespan), !binding.is_empty());
    }

    /// However large the numbers are: it neither panics nor takes long, and no limit alone is slower.
    #[test]
    fn any_quota_has_a_forecast(
        windows in vec((any::<u64>(), 0..64u32, any::<u64>(), 0..64u32, any::<bool>()), 0..8),
        at_once in option::of(1..=usize::MAX),
        (margin, work) in (any::<u64>(), any::<u64>()),
        (requests, less) in (any::<u64>(), 0..64u32),
        taken in 0..1_000u64,
    ) {
        let mut quota = Quota::unlimited().margin(Duration::from_secs(margin.max(1)));
        let mut alone = Duration::ZERO;
        for (n, smaller, period, shorter, is_fine) in windows {
            let n = (n >> smaller).max(taken).max(1);
            let period = (period >> shorter).max(1);
            let period = if is_fine { Duration::from_nanos(period) } else { Duration::from_secs(period) };
            quota = quota.units(Unit::TOKENS, n, period);
            if let Some(places) = n.checked_div(taken) {
                let turns = (requests >> less).saturating_sub(1) / places;
                let held = period.saturating_add(Duration::from_secs(margin.max(1)));
                let time = u32::try_from(turns).map_or(Duration::ZERO, |turns| held.saturating_mul(turns));
                alone = alone.max(time);
            }
        }
        if let Some(n) = at_once {
            quota = quota.concurrency(n);
        }
        let work = Duration::from_secs(work);
        let forecast = quota.forecast(requests >> less, work, &Cost::new().of(Unit::TOKENS, taken));
        prop_assert!(forecast.last_dispatch() >= alone);
        prop_assert!(forecast.makespan() >= forecast.last_dispatch());
        prop_assert_eq!(forecast.binding().is_empty(), forecast.last_dispatch().is_zero());
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ONE: Cost = Cost::new();

fn named(forecast: &Forecast) -> Vec<String> {
    forecast.binding().iter().map(ToString::to_string).collect()
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

#[test]
fn no_requests_take_no_time() {
    let none = quota("5 tokens/s").forecast(0, MINUTE, &Cost::new().of(Unit::TOKENS, 6));
    assert_eq!(none.makespan(), Duration::ZERO);
    assert!(none.binding().is_empty() && none.is_exact() && !none.never_fits());
}

#[test]
fn without_a_limit_only_the_work_takes_time() {
    let all = Quota::unlimited().forecast(u64::MAX, MINUTE, &ONE);
    assert_eq!(all.makespan(), MINUTE);
    assert_eq!(all.last_dispatch(), Duration::ZERO);
    assert!(all.binding().is_empty());
    let free = Cost::new().requests(0).permits(0).of(Unit::TOKENS, 0);
    let all = quota("5/s, 4 at once, 9 tokens/s").forecast(u64::MAX, MINUTE, &free);
    assert_eq!(all.makespan(), MINUTE);
}

#[test]
fn limits_that_tie_are_all_named() {
    // 601 requests: 120 seconds by the one, two minutes by the other.
    let tied = quota("5/s, 300/min, 1000/d").forecast(601, SECOND, &ONE);
    assert_eq!(tied.last_dispatch(), 2 * MINUTE);
    assert_eq!(named(&tied), ["5/s", "300/min"]);
    let more = quota("5/s, 300/min, 5/s").forecast(606, SECOND, &ONE);
    assert_eq!(named(&more), ["5/s", "300/min", "5/s"]);
}

#[test]
fn limits_that_take_turns_are_all_named() {
    // A hundred in two minutes, in bursts of twenty.
    let riot = quota("20/s, 100/2min").forecast(150, Duration::ZERO, &ONE);
    assert_eq!(riot.makespan(), 2 * MINUTE + 2 * SECOND);
    assert_eq!(named(&riot), ["20/s", "100/2min"]);
    let exactly = quota("20/s, 100/2min").forecast(101, Duration::ZERO, &ONE);
    assert_eq!(named(&exactly), ["100/2min"]);
}

#[test]
fn a_unit_that_is_counted_at_the_end_counts_while_it_works() {
    let cost = Cost::new().of(Unit::OUTPUT_TOKENS, 1_000);
    let late = quota("8_000 output_tokens/min").forecast(17, 10 * SECOND, &cost);
    assert_eq!(late.last_dispatch(), 2 * (MINUTE + 10 * SECOND));
    let early = quota("8_000 output_tokens/min counted at dispatch");
    assert_eq!(
        early.forecast(17, 10 * SECOND, &cost).last_dispatch(),
        2 * MINUTE
    );
}

#[test]
fn what_the_cost_leaves_out_is_assumed_and_named() {
    let quota = quota("100 tokens/min, 804 tokens/h, 5 credits/s, 9 credits/min, 100/s");
    let forecast = quota.forecast(9, SECOND, &ONE);
    assert_eq!(forecast.unstated(), [Unit::TOKENS, Unit::CREDITS]);
    assert_eq!(
        forecast.last_dispatch(),
        MINUTE,
        "12 tokens and 1 credit each"
    );
    assert_eq!(named(&forecast), ["100 tokens/min"]);
    let stated = Cost::new()
        .of(Unit::TOKENS, 1)
        .of(Unit::CREDITS.at_end(), 1);
    assert!(quota.forecast(9, SECOND, &stated).unstated().is_empty());
}

#[test]
fn a_cost_that_is_too_large_never_fits() {
    let quota = quota("5/s, 1_000 tokens/min, 4 at once");
    let large = Cost::new().of(Unit::TOKENS, 1_001).permits(5);
    let forecast = quota.forecast(1, SECOND, &large);
    assert!(forecast.never_fits() && !forecast.is_exact());
    assert_eq!(
        (forecast.makespan(), forecast.last_dispatch()),
        (Duration::MAX, Duration::MAX)
    );
    assert_eq!(named(&forecast), ["1_000 tokens/min", "4 at once"]);
    let whole = Cost::new().of(Unit::TOKENS, 1_000).permits(4);
    let forecast = quota.forecast(3, SECOND, &whole);
    assert_eq!(forecast.last_dispatch(), 2 * MINUTE);
}

#[test]
fn a_nanosecond_is_not_rounded() {
    let quota = Quota::per(1, Duration::from_nanos(3)).margin(Duration::from_nanos(4));
    let forecast = quota.forecast(1_000_000_001, Duration::from_nanos(1), &ONE);
    assert_eq!(forecast.makespan(), 7 * SECOND + Duration::from_nanos(1));
}

#[test]
fn any_number_of_requests_is_counted_exactly_or_said_to_be_too_long() {
    let quota = quota("7/s, 4_000_000_000/d, 3 at once, 1_000_000_000_000 tokens/d");
    let cost = Cost::new().of(Unit::TOKENS, 3);
    let forecast = quota.forecast(u64::MAX, SECOND, &cost);
    assert!(forecast.is_exact());
    let last = u64::MAX - 1;
    assert_eq!(forecast.last_dispatch(), Duration::from_secs(last / 3));
    assert_eq!(named(&forecast), ["3 at once"]);

    let slow = Quota::per(1, SECOND + Duration::from_nanos(1)).and_per(1, SECOND);
    let forecast = slow.forecast(u64::MAX, SECOND, &ONE);
    assert!(!forecast.is_exact() && !forecast.never_fits());
    assert_eq!(forecast.makespan(), Duration::MAX);
    assert_eq!(named(&forecast), ["1/1_000_000_001ns"]);

    // The last dispatch can be said, and the end of its work cannot.
    let forecast = Quota::per_second(1).forecast(u64::MAX, 9 * SECOND, &ONE);
    assert_eq!(forecast.last_dispatch(), Duration::from_secs(last));
    assert_eq!(forecast.makespan(), Duration::MAX);
    assert!(!forecast.is_exact());
    assert_eq!(named(&forecast), ["1/s"]);

    let longest = Quota::per(1, Duration::MAX).margin(Duration::MAX).units(
        Unit::OUTPUT_TOKENS,
        1,
        Duration::MAX,
    );
    let forecast = longest.forecast(u64::MAX, Duration::MAX, &ONE);
    assert_eq!(named(&forecast).len(), 1);
    assert_eq!(
        longest.forecast(1, Duration::MAX, &ONE).makespan(),
        Duration::MAX
    );
}

#[test]
fn where_the_search_is_given_up_the_time_is_an_upper_bound() {
    let period = |nanos| Duration::from_nanos(nanos);
    let hard = Quota::per(1_000_000_007, period(1_000_000_007_003))
        .and_per(999_999_937, period(999_999_937_002))
        .and_per(999_998_917, period(999_998_917_001))
        .and_per(999_997_771, period(999_997_770_999));
    let last = 123_456_789_012_345;
    let forecast = hard.forecast(last + 1, Duration::ZERO, &ONE);
    assert!(!forecast.is_exact());
    let alone = u32::try_from(last / 1_000_000_007).unwrap() * period(1_000_000_007_003);
    assert!(forecast.makespan() >= alone);
    assert!(forecast.makespan() < alone + period(1_000_000_007_003));
}

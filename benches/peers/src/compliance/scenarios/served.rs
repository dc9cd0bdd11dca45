//! Who was served when, and what that comes to for classes and tenants.

use std::time::Duration;

use tower::ServiceExt;

use crate::compliance::{
    contestants::{Caller, Contestant, Limits, Rate, Req, boxed},
    figures::{Spread, Waits, seconds},
    load::{Place, Recorder, ms, send, virtually},
};

/// One request in 50 ms: one slot at a time, so that nothing but the order makes a difference.
pub const SLOT: Duration = ms(50);

/// When a request comes, and whose it is.
pub type Entry = (Duration, Caller);

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub caller: Caller,
    pub came: Duration,
    pub sent: Duration,
}

impl Served {
    pub fn wait(&self) -> Duration {
        self.sent.saturating_sub(self.came)
    }
}

/// Sends all of them through a contestant. What comes back is in the order in which they were sent.
pub fn serve(
    contestant: &dyn Contestant,
    limits: Limits,
    entries: &[Entry],
    seed: u64,
) -> Vec<Served> {
    let arrivals = entries.iter().map(|(came, _)| *came).collect();
    let callers: Vec<_> = entries.iter().map(|(_, caller)| *caller).collect();
    let sent = virtually(seed, async {
        let recorder = Recorder::start();
        let client = contestant.client(limits, recorder.server());
        let client = boxed(client.map_request(move |mut request: Req| {
            let Place(place) = Place::of(&request);
            request.extensions_mut().insert(callers[place]);
            request
        }));
        send(&client, &arrivals).await;
        recorder.sent()
    });
    assert_eq!(sent.len(), entries.len(), "a request was not sent");
    let served = sent.iter().map(|sent| {
        let (came, caller) = entries[sent.place];
        Served {
            caller,
            came,
            sent: sent.at,
        }
    });
    served.collect()
}

/// Instants between `from` and `to` at which independent requests come, so many per second on average. None comes at
/// the instant of a slot, where it is the runtime's affair who is first.
pub fn independent(
    random: &mut fastrand::Rng,
    per_second: f64,
    from: Duration,
    to: Duration,
) -> Vec<Duration> {
    let slot = SLOT.as_millis();
    let mut times = Vec::new();
    let mut now = from.as_secs_f64();
    loop {
        now -= (1.0 - random.f64()).ln() / per_second;
        let time = ms((now * 1_000.0) as u64);
        if time >= to {
            return times;
        }
        let is_slot = time.as_millis().is_multiple_of(slot);
        times.push(if is_slot { time + ms(1) } else { time });
    }
}

/// In the order in which they come; those of one instant as they are given.
pub fn in_order(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|(came, _)| *came);
    entries
}

/// The waits of those that are meant, over all runs.
pub fn waits(runs: &[Vec<Served>], meant: impl Fn(&Caller) -> bool) -> Waits {
    let of_runs = runs.iter().map(|run| {
        let of_those = run.iter().filter(|served| meant(&served.caller));
        let mut waits: Vec<_> = of_those.map(Served::wait).collect();
        waits.sort();
        (waits[waits.len() / 2], waits[waits.len() - 1])
    });
    let (medians, worst): (Vec<_>, Vec<_>) = of_runs.unzip();
    let spread = |times: Vec<Duration>| Spread::of(times.into_iter().map(seconds));
    Waits {
        median: spread(medians),
        worst: spread(worst),
    }
}

/// When the last of so many that wait all the time could have been sent in an exact window, by when it was: 1 if no
/// slot was left unused, and more if the window was broken.
pub fn used(run: &[Served], rate: Rate) -> f64 {
    let last = run.last().expect("somebody was served").sent;
    let windows = (run.len() - 1) / rate.n as usize;
    windows as f64 * rate.period.as_secs_f64() / last.as_secs_f64()
}

/// The stretches in which at least one of those that are meant waits, from when it begins until it ends.
pub fn waiting(run: &[Served], meant: impl Fn(&Caller) -> bool) -> Vec<(Duration, Duration)> {
    let of_those = run.iter().filter(|served| meant(&served.caller));
    let mut waits: Vec<_> = of_those.map(|served| (served.came, served.sent)).collect();
    waits.sort();
    let mut stretches: Vec<(Duration, Duration)> = Vec::new();
    for (came, sent) in waits {
        match stretches.last_mut() {
            Some((_, end)) if came <= *end => *end = sent.max(*end),
            _ => stretches.push((came, sent)),
        }
    }
    stretches
}

/// The stretches that are in both.
pub fn both(
    some: &[(Duration, Duration)],
    others: &[(Duration, Duration)],
) -> Vec<(Duration, Duration)> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::new();
    while i < some.len() && j < others.len() {
        let (from, to) = (some[i].0.max(others[j].0), some[i].1.min(others[j].1));
        if from < to {
            both.push((from, to));
        }
        if some[i].1 < others[j].1 {
            i += 1;
        } else {
            j += 1;
        }
    }
    both
}

/// Those that were sent within, and at neither end: there one of the two has just begun to wait, or ceased to.
pub fn within(run: &[Served], (from, to): (Duration, Duration)) -> &[Served] {
    let first = run.partition_point(|served| served.sent <= from);
    let end = run.partition_point(|served| served.sent < to);
    &run[first..end.max(first)]
}

/// The most by which a sum grows from any point to any later one.
pub fn largest_rise(steps: impl IntoIterator<Item = f64>) -> f64 {
    let (mut rise, mut largest) = (0.0_f64, 0.0_f64);
    for step in steps {
        rise = (rise + step).max(0.0);
        largest = largest.max(rise);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compliance::contestants::Class;

    fn served(tenant: usize, came: u64, sent: u64) -> Served {
        let caller = Caller {
            class: Class::Batch,
            tenant,
            weight: 1,
        };
        Served {
            caller,
            came: ms(came),
            sent: ms(sent),
        }
    }

    #[test]
    fn a_stretch_lasts_while_somebody_waits() {
        let run = [
            served(0, 0, 2),
            served(0, 1, 4),
            served(1, 3, 5),
            served(0, 6, 9),
        ];
        let of_0 = waiting(&run, |caller| caller.tenant == 0);
        assert_eq!(of_0, [(ms(0), ms(4)), (ms(6), ms(9))]);
        let of_1 = waiting(&run, |caller| caller.tenant == 1);
        assert_eq!(both(&of_0, &of_1), [(ms(3), ms(4))]);
        assert_eq!(within(&run, (ms(2), ms(9))).len(), 2);
    }

    #[test]
    fn a_sum_rises_from_its_lowest_point() {
        assert!((largest_rise([1.0, -3.0, 2.0, -1.0, 2.0]) - 3.0).abs() < 1e-9);
        assert!(largest_rise([-1.0]).abs() < 1e-9);
    }

    #[test]
    fn what_goes_out_with_each_slot_uses_all_that_is_allowed() {
        let rate = Limits::per(1, ms(2)).rate.expect("it has one");
        let run = [served(0, 0, 0), served(0, 0, 2), served(0, 0, 4)];
        assert!((used(&run, rate) - 1.0).abs() < 1e-9);
        assert!((used(&[run[0], served(0, 0, 8)], rate) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn nobody_comes_at_the_instant_of_a_slot() {
        let mut random = fastrand::Rng::with_seed(0);
        let times = independent(&mut random, 100.0, ms(0), ms(60_000));
        assert!(times.is_sorted() && times.len() > 5_500 && times.len() < 6_500);
        assert!(times.iter().all(|time| time.as_millis() % 50 != 0));
    }
}

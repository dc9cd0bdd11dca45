//! How long a quota makes a batch of equal requests take.

use std::time::Duration;

use super::{
    builder::Quota,
    chain::{Turn, longest},
    window::Window,
};
use crate::costs::{Cost, Unit};

/// How long a batch of equal requests takes, and which limits decide that: made by [`Quota::forecast`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    last_dispatch: Duration,
    makespan: Duration,
    binding: Vec<QuotaLimit>,
    unstated: Vec<Unit>,
    times: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Exact,
    AtMost,
    TooLong,
    Never,
}

impl Forecast {
    /// The time from the first dispatch to the end of the last answer; zero if there are no requests.
    ///
    /// `Duration::MAX` (584 billion years) stands for all that is longer, and for ever if the requests
    /// [never fit](Self::never_fits); it is not [exact](Self::is_exact) then.
    pub fn makespan(&self) -> Duration {
        self.makespan
    }

    /// The time from the first dispatch to the last: the makespan without the work of the last request.
    pub fn last_dispatch(&self) -> Duration {
        self.last_dispatch
    }

    /// Every limit that decides when the last request goes, in the order of the quota: windows, then concurrency.
    ///
    /// A limit is named if the batch would take longer if that limit held each request longer, by however little (a
    /// window: if its period were longer). It is then part of a chain of requests, from the first to the last, each of
    /// which goes at the very instant at which a limit has room again after the one before. Where several limits by
    /// themselves make the batch last as long, all of them are named. So
    ///
    /// - loosening a limit that is not named changes nothing;
    /// - lifting all that are named makes the batch shorter; if only one is named, lifting that one does;
    /// - none is named if all requests go at once: only their own work takes time then.
    ///
    /// If the requests [never fit](Self::never_fits), these are the limits that a single request exceeds. If the last
    /// dispatch is later than a `Duration` can say, they are the slowest: those that let the fewest requests through
    /// in the long run.
    pub fn binding(&self) -> &[QuotaLimit] {
        &self.binding
    }

    /// Whether there are requests, each of which takes more than a limit has in all, so that none is ever sent.
    /// Such requests are refused with [`NeverFits`](crate::RefusedReason::NeverFits).
    pub fn never_fits(&self) -> bool {
        self.times == Times::Never
    }

    /// Whether [`makespan`](Self::makespan) and [`last_dispatch`](Self::last_dispatch) are exact, to the nanosecond.
    ///
    /// They are not where `Duration::MAX` stands for a longer time. Nor are they for quotas that are made to be hard,
    /// with several limits of nearly the same rate and millions of places each: if those interlock in more ways than
    /// can be tried, the times are upper bounds, too long by less than one turn of the slowest limit (its period and
    /// the margin, or the work), and [`binding`](Self::binding) may name more limits than decide.
    pub fn is_exact(&self) -> bool {
        self.times == Times::Exact
    }

    /// The units that the quota counts and the cost does not state, each of which was assumed to be an eighth of its
    /// smallest window.
    pub fn unstated(&self) -> &[Unit] {
        &self.unstated
    }
}

/// One limit of a [`Quota`], as a [`Forecast`] names it.
///
/// It is printed as in the quota's text: `100/2min`, or `4 at once`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaLimit {
    /// A window of requests or of another unit.
    Window(Window),
    /// At most so many requests in flight.
    Concurrency(usize),
}

impl Quota {
    /// How long `requests` requests take that are all there at once, and which limits decide that.
    ///
    /// Each of them costs `cost` and takes `work` from its dispatch to the end of its body. They start with nothing
    /// counted, and each is dispatched at the first instant at which all windows and the concurrency have room for it:
    /// what a layer does with this quota, but for the timer's tick of a millisecond to which that rounds up each
    /// wait. Nothing runs and nothing waits here. How long it takes to compute does not depend on `requests`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_throttle::{Cost, Quota, QuotaLimit, Unit};
    ///
    /// // An audio drama: ten segments of twelve seconds, four at once.
    /// let quota: Quota = "5/s, 4 at once".parse()?;
    /// let work = Duration::from_secs(12);
    /// let drama = quota.forecast(10, work, &Cost::new());
    /// assert_eq!(drama.makespan(), Duration::from_secs(36));
    /// assert_eq!(drama.binding(), [QuotaLimit::Concurrency(4)]);
    ///
    /// // With ten at once it is the window that decides: five go now, and five a second later.
    /// let drama = quota.concurrency(10).forecast(10, work, &Cost::new());
    /// assert_eq!(drama.makespan(), Duration::from_secs(13));
    /// assert_eq!(drama.binding()[0].to_string(), "5/s");
    ///
    /// // A thousand prompts of 600 tokens. Fifty fit into the window: 19 minutes pass before the last fifty.
    /// let quota: Quota = "100/min, 30_000 tokens/min".parse()?;
    /// let prompts = quota.forecast(1_000, Duration::ZERO, &Cost::new().of(Unit::TOKENS, 600));
    /// assert_eq!(prompts.makespan(), Duration::from_secs(19 * 60));
    /// assert_eq!(prompts.binding()[0].to_string(), "30_000 tokens/min");
    /// # Ok::<(), tower_throttle::InvalidQuota>(())
    /// ```
    ///
    /// - A **window** counts what a request takes from its dispatch until its period, and the margin, have passed.
    /// - A window of a unit that is counted **at the answer's end** ([`Unit::at_end`]) counts it while the request works,
    ///   and for its period and the margin from the end of the work on.
    /// - The **concurrency** counts a request while it works. Of a quota with
    ///   [`release_at_head`](Quota::release_at_head) that is until the head: unless it counts a unit at the answer's end
    ///   as well, `work` may be the time to the head, and the makespan is then the time to the last head.
    /// - What the **cost** leaves out: 1 request, 1 permit, and an eighth (rounded down, at least 1) of the smallest
    ///   window of each other unit, as a layer assumes before it knows better. [`unstated`](Forecast::unstated) names
    ///   those. A cost of 0 waits for no room. One that is larger than a limit [never fits](Forecast::never_fits).
    /// - What happens later is not foreseen: throttling, retries, pauses, learned limits, requests of others, and a
    ///   [`grace`](Quota::grace), which is for requests that are dropped.
    pub fn forecast(&self, requests: u64, work: Duration, cost: &Cost) -> Forecast {
        let batch = Batch {
            quota: self,
            work,
            cost,
        };
        batch.forecast(requests)
    }

    fn each_limit(&self) -> impl Iterator<Item = QuotaLimit> {
        let concurrency = self.concurrency_limit().map(QuotaLimit::Concurrency);
        self.windows().map(QuotaLimit::Window).chain(concurrency)
    }
}

struct Batch<'a> {
    quota: &'a Quota,
    work: Duration,
    cost: &'a Cost,
}

/// What one request means to one limit.
enum Share {
    Turn(Turn),
    /// The limit never makes it wait.
    Free,
    /// The limit never has room for it.
    TooLarge,
}

impl Batch<'_> {
    fn forecast(&self, requests: u64) -> Forecast {
        let mut forecast = Forecast {
            last_dispatch: Duration::ZERO,
            makespan: Duration::ZERO,
            binding: Vec::new(),
            unstated: self.unstated(),
            times: Times::Exact,
        };
        let Some(last) = requests.checked_sub(1) else {
            return forecast;
        };
        let mut turns = Vec::new();
        for limit in self.quota.each_limit() {
            match self.share(&limit) {
                Share::Turn(turn) if turn.places <= last => turns.push((limit, turn)),
                Share::Turn(_) | Share::Free => {}
                Share::TooLarge => forecast.binding.push(limit),
            }
        }
        if !forecast.binding.is_empty() {
            forecast.last_dispatch = Duration::MAX;
            forecast.makespan = Duration::MAX;
            forecast.times = Times::Never;
            return forecast;
        }
        let (last_dispatch, times, binding) = when_last_goes(&turns, last);
        forecast.last_dispatch = last_dispatch;
        forecast.binding = binding;
        (forecast.makespan, forecast.times) = match last_dispatch.checked_add(self.work) {
            Some(makespan) => (makespan, times),
            None => (Duration::MAX, Times::TooLong),
        };
        forecast
    }

    fn share(&self, limit: &QuotaLimit) -> Share {
        let work = self.work.as_nanos();
        let (limit, taken, held) = match limit {
            QuotaLimit::Concurrency(limit) => {
                let taken = self.cost.get_permits().unwrap_or(1);
                (*limit as u64, taken as u64, work)
            }
            QuotaLimit::Window(window) => {
                let period = window.period().as_nanos() + self.quota.window_margin().as_nanos();
                let held = if window.unit().is_at_end() {
                    work + period
                } else {
                    period
                };
                (window.n(), self.taken(window.unit()), held)
            }
        };
        match limit.checked_div(taken) {
            Some(0) => Share::TooLarge,
            Some(places) if held > 0 => Share::Turn(Turn { places, held }),
            _ => Share::Free,
        }
    }

    /// What a request takes of a unit.
    fn taken(&self, unit: Unit) -> u64 {
        let stated = self.cost.get(unit);
        stated.unwrap_or_else(|| {
            if unit.is_requests() {
                return 1;
            }
            let same = |window: &Window| window.unit() == unit;
            let windows = self.quota.windows().filter(same);
            windows
                .map(|window| window.n() / 8)
                .min()
                .unwrap_or(0)
                .max(1)
        })
    }

    fn unstated(&self) -> Vec<Unit> {
        let mut unstated = Vec::new();
        for window in self.quota.windows() {
            let unit = window.unit();
            if !unit.is_requests() && self.cost.get(unit).is_none() && !unstated.contains(&unit) {
                unstated.push(unit);
            }
        }
        unstated
    }
}

/// When request number `last` goes, where the first is number 0, and what makes it wait. Each limit has fewer places.
fn when_last_goes(turns: &[(QuotaLimit, Turn)], last: u64) -> (Duration, Times, Vec<QuotaLimit>) {
    let only_turns: Vec<_> = turns.iter().map(|&(_, turn)| turn).collect();
    let length = longest(&only_turns, last);
    let Some((length, time)) = length.and_then(|length| Some((length, duration(length.most)?)))
    else {
        let slowest = only_turns.iter().min_by(|a, b| a.cmp_speed(b));
        let is_slowest =
            |turn: &Turn| slowest.is_some_and(|slowest| turn.cmp_speed(slowest).is_eq());
        let binding = turns.iter().filter(|(_, turn)| is_slowest(turn));
        let binding = binding.map(|&(limit, _)| limit).collect();
        return (Duration::MAX, Times::TooLong, binding);
    };
    let mut binding = Vec::new();
    let mut is_exact = length.is_exact();
    for (limit, turn) in turns {
        let Some(before) = longest(&only_turns, last - turn.places) else {
            continue;
        };
        is_exact &= before.is_exact();
        if before.most + turn.held >= length.least {
            binding.push(*limit);
        }
    }
    let times = if is_exact {
        Times::Exact
    } else {
        Times::AtMost
    };
    (time, times, binding)
}

fn duration(nanos: u128) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    let secs = u64::try_from(nanos / SECOND).ok()?;
    let below = u32::try_from(nanos % SECOND).ok()?;
    Some(Duration::new(secs, below))
}

#[cfg(test)]
mod tests;

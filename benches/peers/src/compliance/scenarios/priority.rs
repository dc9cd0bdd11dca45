//! Interactive requests beside a batch that waits, at one endpoint.

use std::time::Duration;

use super::{
    QUEUES, SEEDS,
    served::{
        Entry, SLOT, Served, both, in_order, independent, largest_rise, serve, used, waiting,
        waits, within,
    },
};
use crate::compliance::{
    contestants::{Caller, Class, Contestant, Limits},
    figures::{PriorityRow, PriorityTable, rounded, seconds},
    load::{ms, secs, worst_window},
};

/// What lower classes are due while higher ones wait: one part in so many.
const FLOOR: f64 = 8.0;

pub struct Scenario {
    pub name: &'static str,
    n: u32,
    period: Duration,
    /// All there at the start.
    batch: usize,
    /// Per second, on average.
    interactive: f64,
    /// For how long interactive requests come.
    lasts: Duration,
}

/// A quarter of what is allowed.
pub const BACKLOG: Scenario = Scenario {
    name: "1 per 50 ms: 1 000 of a batch wait, 5 interactive requests per second",
    n: 1,
    period: SLOT,
    batch: 1_000,
    interactive: 5.0,
    lasts: secs(50),
};

/// The same rate, and a second's worth of it may go at once.
pub const WINDOW: Scenario = Scenario {
    name: "20 per second: 1 000 of a batch wait, 5 interactive requests per second",
    n: 20,
    period: secs(1),
    ..BACKLOG
};

/// More than is allowed.
pub const SATURATED: Scenario = Scenario {
    name: "1 per 50 ms: 300 of a batch wait, 25 interactive requests per second",
    batch: 300,
    interactive: 25.0,
    lasts: secs(60),
    ..BACKLOG
};

pub const ALL: [Scenario; 3] = [BACKLOG, WINDOW, SATURATED];

pub fn run() -> Vec<PriorityTable> {
    let tables = ALL.map(|scenario| PriorityTable {
        scenario: scenario.name.to_owned(),
        rows: QUEUES
            .iter()
            .map(|(name, contestant)| {
                let run = |seed| scenario.serve(*contestant, seed);
                let runs: Vec<_> = SEEDS.map(run).collect();
                scenario.row((*name).to_owned(), &runs)
            })
            .collect(),
    });
    tables.into()
}

pub fn is_interactive(caller: &Caller) -> bool {
    caller.class == Class::Interactive
}

pub fn is_batch(caller: &Caller) -> bool {
    caller.class == Class::Batch
}

impl Scenario {
    fn entries(&self, seed: u64) -> Vec<Entry> {
        let caller = |class| Caller {
            class,
            tenant: 0,
            weight: 1,
        };
        let batch = vec![(Duration::ZERO, caller(Class::Batch)); self.batch];
        let mut random = fastrand::Rng::with_seed(seed);
        let interactive = independent(&mut random, self.interactive, ms(1), self.lasts);
        let interactive = interactive.into_iter();
        let interactive = interactive.map(|came| (came, caller(Class::Interactive)));
        in_order(batch.into_iter().chain(interactive).collect())
    }

    fn saturates(&self) -> bool {
        self.interactive * self.period.as_secs_f64() > f64::from(self.n)
    }

    /// One run.
    pub fn serve(&self, contestant: &dyn Contestant, seed: u64) -> Vec<Served> {
        let limits = Limits::per(self.n, self.period);
        serve(contestant, limits, &self.entries(seed), seed)
    }

    fn row(&self, client: String, runs: &[Vec<Served>]) -> PriorityRow {
        let rate = Limits::per(self.n, self.period).rate.expect("it has one");
        let least = |of: &dyn Fn(&[Served]) -> f64| {
            let figures = runs.iter().map(|run| of(run));
            rounded(figures.fold(f64::INFINITY, f64::min))
        };
        let most = |of: &dyn Fn(&[Served]) -> f64| {
            let figures = runs.iter().map(|run| of(run));
            rounded(figures.fold(0.0, f64::max))
        };
        let longest = runs.iter().map(|run| batch_stands_still(run)).max();
        let windows = runs.iter().map(|run| {
            let times: Vec<_> = run.iter().map(|served| served.sent).collect();
            worst_window(&times, self.period)
        });
        PriorityRow {
            client,
            interactive: waits(runs, is_interactive),
            batch: waits(runs, is_batch),
            goes_before: runs.iter().map(|run| goes_before(run)).max().unwrap_or(0),
            batch_share: self.saturates().then(|| least(&batch_share)),
            behind_floor: most(&behind_floor),
            batch_stands_still: seconds(longest.unwrap_or_default()),
            used: least(&|run| used(run, rate)),
            worst_window: windows.max().unwrap_or_default(),
        }
    }
}

/// The stretches in which both classes wait.
fn both_wait(run: &[Served]) -> Vec<(Duration, Duration)> {
    both(&waiting(run, is_interactive), &waiting(run, is_batch))
}

/// How many of the batch are sent while an interactive request waits, at most.
fn goes_before(run: &[Served]) -> usize {
    let batch: Vec<_> = run
        .iter()
        .filter(|served| is_batch(&served.caller))
        .collect();
    let before = |served: &Served| {
        let from = batch.partition_point(|other| other.sent <= served.came);
        let to = batch.partition_point(|other| other.sent < served.sent);
        to.saturating_sub(from)
    };
    let interactive = run.iter().filter(|served| is_interactive(&served.caller));
    interactive.map(before).max().unwrap_or(0)
}

/// The batch's share of what is sent while both wait.
fn batch_share(run: &[Served]) -> f64 {
    let stretches = both_wait(run);
    let sent = stretches.iter().flat_map(|stretch| within(run, *stretch));
    let (mut of_batch, mut all) = (0_u32, 0_u32);
    for served in sent {
        all += 1;
        of_batch += u32::from(is_batch(&served.caller));
    }
    f64::from(of_batch) / f64::from(all.max(1))
}

/// How many requests less than its part the batch has got, in the worst stretch in which both wait.
fn behind_floor(run: &[Served]) -> f64 {
    let stretches = both_wait(run).into_iter().map(|stretch| {
        largest_rise(within(run, stretch).iter().map(|served| {
            let got = f64::from(u8::from(is_batch(&served.caller)));
            1.0 / FLOOR - got
        }))
    });
    stretches.fold(0.0, f64::max)
}

/// The longest time in which some of the batch wait and none of them is sent.
fn batch_stands_still(run: &[Served]) -> Duration {
    // All are there at the start.
    let mut last = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for served in run.iter().filter(|served| is_batch(&served.caller)) {
        longest = longest.max(served.sent.saturating_sub(last));
        last = served.sent;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter for each slot: who was sent. All wait from the start, but for the interactive requests that come later.
    fn run(sent: &str, came: u64) -> Vec<Served> {
        let served = |(slot, class): (usize, char)| {
            let (class, came) = match class {
                'i' => (Class::Interactive, ms(came)),
                _ => (Class::Batch, ms(0)),
            };
            let caller = Caller {
                class,
                tenant: 0,
                weight: 1,
            };
            let sent = ms(slot as u64);
            Served { caller, came, sent }
        };
        sent.chars().enumerate().map(served).collect()
    }

    #[test]
    fn what_goes_before_an_interactive_request_is_counted() {
        assert_eq!(goes_before(&run("bbbibb", 1)), 1);
        assert_eq!(goes_before(&run("bbbbbi", 0)), 4);
        assert_eq!(goes_before(&run("bibb", 0)), 0);
    }

    #[test]
    fn the_batch_is_behind_by_what_it_has_not_got() {
        let strict = run(&format!("b{}b", "i".repeat(17)), 0);
        // The last of them ends the stretch.
        assert!((behind_floor(&strict) - 2.0).abs() < 1e-9);
        assert!(batch_share(&strict).abs() < 1e-9);
        assert_eq!(batch_stands_still(&strict), ms(18));
        let floor = run("biiiiiiibiiiiiiibib", 0);
        assert!((behind_floor(&floor) - 7.0 / 8.0).abs() < 1e-9);
        assert_eq!(batch_stands_still(&floor), ms(8));
    }
}

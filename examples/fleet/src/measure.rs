//! Runs loads, one after the other, and says in one row what came of each.

use std::time::Duration;

use tokio::time::sleep;
use tower_throttle::BoxError;

use super::{
    figures::{self, Overtaken},
    fleet::{Fleet, Outcome},
    loads::{Demand, Event, Load, MARGIN, Way},
    redis,
    stamp::{self, Stamp},
};

/// Who goes this much later than somebody who came later was overtaken.
const OVERTAKEN: u64 = 50_000;

/// When something happens, after the beginning of what is counted.
const CALM: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_secs(3);

/// What is said of one run.
#[derive(Debug)]
struct Row {
    used: Option<f64>,
    /// The most in any window, for each, beside what is allowed.
    worst: Vec<(u64, u64)>,
    refused: (usize, usize),
    overtaken: Overtaken,
    /// By one that came at least a reservation later.
    by_younger: Overtaken,
    sent: usize,
    calls: Option<(f64, f64)>,
    jain: f64,
    /// In the middle, of one in a hundred, and at most.
    waits: [u64; 3],
    notes: Vec<String>,
    /// What is not as it has to be.
    faults: Vec<String>,
}

pub(crate) async fn run(loads: Vec<Load>, runs: usize) -> Result<(), BoxError> {
    println!("{HEADS}");
    let mut faults = Vec::new();
    for load in loads {
        let mut used = Vec::new();
        for _ in 0..runs {
            let row = measure(&load).await?;
            println!("{}", row.text(&load));
            used.extend(row.used);
            let name = load.name;
            faults.extend(row.faults.iter().map(|fault| format!("{name}: {fault}")));
        }
        if runs > 1 && !used.is_empty() {
            used.sort_unstable_by(f64::total_cmp);
            let [least, middle, most] = [0, used.len() / 2, used.len() - 1].map(|at| used[at]);
            println!("  {}: use {least:.3} / {middle:.3} / {most:.3}", load.name);
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n").into())
}

const HEADS: &str = "load             procs    use  worst              refused  overtaken (longest)  by D younger  sent  calls each (us)   Jain  waits: middle, 1 in 100, longest";

impl Row {
    fn text(&self, load: &Load) -> String {
        let used = self
            .used
            .map_or("-".to_owned(), |used| format!("{used:.3}"));
        let worst = self.worst.iter().map(|(worst, n)| format!("{worst}/{n}"));
        let worst = worst.collect::<Vec<_>>().join(" ");
        let calls = self.calls.map_or("-".to_owned(), |(each, time)| {
            format!("{each:.2} ({time:.0})")
        });
        let [middle, most, longest] = self.waits.map(|wait| wait as f64 / 1e3);
        let Overtaken { share, longest: by } = self.overtaken;
        let overtaken = format!("{:.2} % ({:.0} ms)", share * 100.0, by as f64 / 1e3);
        let notes = self.notes.iter().map(|note| format!("; {note}"));
        format!(
            "{:<16} {:>5}  {used:>5}  {worst:<17} {:>4} {:>3}  {overtaken:>19}  {:>10.2} %  {:>4}  {calls:>15}  {:.3}  {middle:.1} {most:.1} {longest:.1} ms{}",
            load.name,
            load.workers,
            self.refused.0,
            self.refused.1,
            self.by_younger.share * 100.0,
            self.sent,
            self.jain,
            notes.collect::<String>(),
        )
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

async fn until(at: u64) {
    sleep(Duration::from_micros(at.saturating_sub(stamp::now()))).await;
}

async fn measure(load: &Load) -> Result<Row, BoxError> {
    let mut fleet = Fleet::start(load).await?;
    let from = fleet.begin + micros(load.warm());
    let to = fleet.begin + micros(load.time) - 200_000;
    until(from).await;
    let before = fleet.server.calls().await?;
    let happened = match load.event {
        Some(event) => {
            sleep(CALM).await;
            Some(happen(event, &mut fleet).await?)
        }
        None => None,
    };
    until(to).await;
    let after = fleet.server.calls().await?;
    let outcome = fleet.end().await?;
    let mut row = row(load, &outcome, from, to);
    if let (None, Way::Store) = (load.event, load.way) {
        let calls = after.0.saturating_sub(before.0) as f64;
        let time = after.1.saturating_sub(before.1) as f64;
        row.calls = Some((calls / row.sent as f64, time / calls.max(1.0)));
    }
    if let Some((event, happened)) = load.event.zip(happened) {
        row.follow(load, event, &outcome.dispatched, happened, to);
    }
    Ok(row)
}

/// When it began and when it was over; and to which worker it happened, if to one.
#[derive(Clone, Copy, Debug)]
struct Happened {
    began: u64,
    over: u64,
    worker: usize,
}

async fn happen(event: Event, fleet: &mut Fleet) -> Result<Happened, BoxError> {
    let worker = fleet.busiest();
    let began = stamp::now();
    match event {
        Event::WorkerKilled => fleet.workers[worker].kill().await?,
        Event::WorkerStopped => {
            let child = &fleet.workers[worker];
            redis::signal(child, "-STOP").await?;
            sleep(PAUSE).await;
            redis::signal(child, "-CONT").await?;
        }
        Event::ServerStopped => {
            fleet.server.signal("-STOP").await?;
            sleep(PAUSE).await;
            fleet.server.signal("-CONT").await?;
        }
        Event::ServerRestarted => fleet.server.restart(Duration::from_millis(700)).await?,
        Event::Flushed => {
            fleet.server.tell(&["FLUSHALL"]).await?;
        }
        Event::ScriptsFlushed => {
            fleet.server.tell(&["SCRIPT", "FLUSH"]).await?;
        }
    }
    let over = stamp::now();
    Ok(Happened {
        began,
        over,
        worker,
    })
}

fn row(load: &Load, outcome: &Outcome, from: u64, to: u64) -> Row {
    // What goes through a gateway goes when that sends it.
    let all = match load.way {
        Way::Store | Way::Divided => &outcome.dispatched,
        Way::Gateway => &outcome.arrived,
    };
    let within = |stamps: &[Stamp]| -> Vec<Stamp> {
        let stamps = stamps
            .iter()
            .filter(|stamp| (from..to).contains(&stamp.went));
        stamps.copied().collect()
    };
    let stamps = within(all);
    let mut faults = Vec::new();
    if stamps.is_empty() {
        faults.push("nothing was sent".to_owned());
    }
    let mut worst = Vec::new();
    for (leaf, rate, costs) in load.windows() {
        let period = micros(rate.period);
        // Over all of the run, its beginning and its end.
        let amounts = figures::amounts(all, leaf, costs);
        let most = figures::worst(&amounts, period);
        worst.push((most, rate.n.into()));
        if most > rate.n.into() && load.way == Way::Store {
            faults.push(format!(
                "{most} went within {:?}: at most {} may",
                rate.period, rate.n
            ));
        }
    }
    let mut notes = Vec::new();
    for (leaf, index) in load.leaves.iter().zip(0..) {
        // A gateway's own requests say nothing at their end.
        let tells = load.way != Way::Gateway && load.event.is_none();
        if let Some(n) = leaf.concurrency.filter(|_| tells) {
            let of = stamps.iter().filter(|stamp| stamp.tag.leaf == index);
            let of: Vec<_> = of.copied().collect();
            let used = figures::use_of_permits(&of, n, from, to);
            notes.push(format!("{used:.3} of {n} permits"));
        }
    }
    if load.leaves.len() > 1 {
        let time = (to - from) as f64 / 1e6;
        let each = (0..).take(load.leaves.len()).map(|leaf| {
            let sent = figures::amounts(&stamps, Some(leaf), false).len();
            format!("{:.2}", sent as f64 / time)
        });
        let each = each.collect::<Vec<_>>().join(" ");
        notes.push(format!("{each} per second"));
    }
    let mut sent = vec![0; load.workers];
    for stamp in &stamps {
        sent[stamp.tag.worker as usize] += 1;
    }
    // Of those that trickle, where there are such.
    let trickle = matches!(load.demand, Demand::OneBacklog(..));
    let waiting = stamps
        .iter()
        .filter(|stamp| !trickle || stamp.tag.worker > 0);
    let mut waits: Vec<u64> = waiting.map(|stamp| stamp.went - stamp.tag.came).collect();
    waits.sort_unstable();
    Row {
        used: used(load, &stamps, from, to),
        worst,
        refused: (
            outcome.seen.refused_by_rate,
            outcome.seen.refused_by_concurrency,
        ),
        overtaken: figures::overtaken(&stamps, OVERTAKEN, 0),
        // Calls take a part of a reservation, some more and some less.
        by_younger: figures::overtaken(&stamps, OVERTAKEN, micros(load.reservation)),
        sent: stamps.len(),
        calls: None,
        jain: figures::jain(&sent),
        waits: [0.5, 0.99, 1.0].map(|part| figures::percentile(&waits, part)),
        notes,
        faults,
    }
}

/// Which part of the widest window was used; of permits, where there is none.
fn used(load: &Load, stamps: &[Stamp], from: u64, to: u64) -> Option<f64> {
    let Some((leaf, rate, costs)) = load.windows().last() else {
        let n = load.leaves.first()?.concurrency?;
        return Some(figures::use_of_permits(stamps, n, from, to));
    };
    let amounts = figures::amounts(stamps, leaf, costs);
    let (n, period) = (rate.n.into(), micros(rate.period));
    if costs {
        let turn = period + micros(load.reservation + MARGIN);
        figures::use_of_costs(&amounts, n, period, turn, to)
    } else {
        figures::use_of_requests(&amounts, n, period)
    }
}

impl Row {
    /// What followed from what happened.
    fn follow(&mut self, load: &Load, event: Event, all: &[Stamp], happened: Happened, to: u64) {
        let Happened {
            began,
            over,
            worker,
        } = happened;
        self.used = None;
        if event == Event::WorkerKilled {
            let n = load.leaves[0].concurrency.unwrap_or(0);
            let mine = |stamp: &&Stamp| stamp.tag.worker == worker as u64;
            let held = all
                .iter()
                .filter(mine)
                .filter(|stamp| stamp.ended.is_none());
            let held = held.count();
            let others: Vec<_> = all.iter().filter(|stamp| !mine(stamp)).copied().collect();
            let back = figures::all_in_use(&others, n, began).map(|at| at - began);
            self.notes.push(format!(
                "it had {held} permits, all in use again {} later",
                seconds(back)
            ));
            if back.is_none_or(|back| back > LEASE + 1_000_000) {
                self.faults
                    .push("permits did not come back within a lease and a second".to_owned());
            }
            return;
        }
        let went = figures::amounts(all, Some(0), false);
        let Some(rate) = load.leaves[0].rate else {
            return;
        };
        let n = u64::from(rate.n);
        let period = micros(rate.period);
        let gap = figures::longest_gap(&went, began - period, to);
        let full = figures::at_full_speed(&went, n * 95 / 100, period, over).map(|at| at - over);
        self.notes.push(format!(
            "nothing for {}, full speed {} after it was over",
            seconds(Some(gap)),
            seconds(full)
        ));
        let most = match event {
            // The settling time.
            Event::Flushed | Event::ServerRestarted => 3_500_000,
            _ => 1_000_000,
        };
        if full.is_none_or(|full| full > most) {
            self.faults
                .push(format!("full speed {} after it was over", seconds(full)));
        }
    }
}

/// A store's, if nothing else is said.
const LEASE: u64 = 5_000_000;

fn seconds(micros: Option<u64>) -> String {
    micros.map_or("never".to_owned(), |micros| {
        format!("{:.2} s", micros as f64 / 1e6)
    })
}

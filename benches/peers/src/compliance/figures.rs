//! What was measured, as it is committed: every figure of the tables, of the README and of the picture.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// All of it. What stands before `real_time` is the same on every run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Of what was measured.
    pub versions: BTreeMap<String, String>,
    pub targets: Vec<Target>,
    pub windows: Windows,
    pub judged: Vec<Judged>,
    pub sent_again: Vec<SentAgain>,
    pub order: Vec<Order>,
    pub priority: Vec<PriorityTable>,
    pub fairness: Vec<Fairness>,
    pub polls: Vec<Polls>,
    pub cancelled: Vec<Cancelled>,
    pub storm: Vec<SentAgain>,
    pub streams: Vec<Streams>,
    pub learned: Vec<Learned>,
    pub tokens: Vec<TokensTable>,
    pub timelines: Vec<Timeline>,
    pub series: Vec<Series>,
    /// Of governor, whose clock cannot be paused. `None` if that was left out.
    pub real_time: Option<Vec<RealTime>>,
}

impl Figures {
    /// What the judge says in this scenario.
    pub fn judged(&self, scenario: &str) -> &Judged {
        let mut tables = self.judged.iter();
        let table = tables.find(|table| table.scenario == scenario);
        table.expect("all scenarios are judged")
    }

    /// The rows about classes in this scenario.
    pub fn priority(&self, scenario: &str) -> &[PriorityRow] {
        let mut tables = self.priority.iter();
        let table = tables.find(|table| table.scenario == scenario);
        &table.expect("all scenarios have a table").rows
    }

    /// The rows of this scenario that are about such estimates.
    pub fn tokens<'a>(
        &'a self,
        scenario: &str,
        estimates: &'a str,
    ) -> impl Iterator<Item = &'a TokensRow> {
        let mut tables = self.tokens.iter();
        let table = tables.find(|table| table.scenario == scenario);
        let rows = table.expect("all scenarios have a table").rows.iter();
        rows.filter(move |row| row.estimates == estimates)
    }
}

/// Minimum, median and maximum over all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread<T> {
    pub min: T,
    pub median: T,
    pub max: T,
}

impl<T: Copy + PartialOrd> Spread<T> {
    pub fn of(values: impl IntoIterator<Item = T>) -> Self {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort_by(|a, b| a.partial_cmp(b).expect("no figure is NaN"));
        Self {
            min: values[0],
            median: values[values.len() / 2],
            max: values[values.len() - 1],
        }
    }
}

/// In seconds, to the millisecond: tokio's timers tick no finer.
pub fn seconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64())
}

/// To three digits after the point.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// Something that has to hold, and whether it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub what: String,
    pub at_most: f64,
    pub ours: f64,
    /// The best of the others, with the same load.
    pub best_peer: Option<BestPeer>,
    pub met: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BestPeer {
    pub figure: f64,
    pub name: String,
}

/// The largest number of requests that were sent in any second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Windows {
    pub limit: u32,
    pub rows: Vec<WindowsRow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WindowsRow {
    pub client: String,
    pub saturated: usize,
    pub edge: usize,
    pub after_idle: usize,
    pub readied_early: usize,
}

impl WindowsRow {
    pub fn worst(&self) -> usize {
        let loads = [
            self.saturated,
            self.edge,
            self.after_idle,
            self.readied_early,
        ];
        loads.into_iter().max().unwrap_or_default()
    }
}

/// Requests that are all there at the start, before a judge. What it refuses is lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    pub scenario: String,
    pub requests: usize,
    pub rows: Vec<JudgedRow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JudgedRow {
    pub client: String,
    pub refused: Spread<usize>,
    /// Until the last answer had been read, in seconds.
    pub took: Spread<f64>,
    /// The same of the list scheduling oracle, on the same draws. None where the way is shaky.
    pub best_possible: Option<Spread<f64>>,
    /// The most that lay between the two, in milliseconds.
    pub off_by_ms: Option<f64>,
    /// The share of requests that was done by the end of the best possible time.
    pub utilisation: Option<f64>,
    /// When the last request was sent, in seconds.
    pub last_sent: Spread<f64>,
}

/// Requests that are sent again until they are accepted, or their client gives up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SentAgain {
    pub scenario: String,
    pub requests: usize,
    pub rows: Vec<SentAgainRow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SentAgainRow {
    pub client: String,
    pub sent: Spread<usize>,
    pub refused: Spread<usize>,
    pub succeeded: Spread<usize>,
    /// Sent before the time that a `Retry-After` had named.
    pub early: Spread<usize>,
    pub took: Spread<f64>,
}

/// A thousand who wait, and newcomers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub client: String,
    /// The share of all pairs of requests of which the later one was sent first.
    pub overtaken: f64,
    /// Of the thousand that were there first, in seconds.
    pub longest_wait: f64,
    /// Of all, in seconds.
    pub longest_wait_of_all: f64,
}

/// How long requests wait until they are sent, in seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Waits {
    pub median: Spread<f64>,
    pub worst: Spread<f64>,
}

/// Interactive requests beside a batch, at one endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PriorityTable {
    pub scenario: String,
    pub rows: Vec<PriorityRow>,
}

/// The worst of all seeds, where nothing else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PriorityRow {
    pub client: String,
    pub interactive: Waits,
    pub batch: Waits,
    /// How many of the batch are sent while an interactive request waits, at most.
    pub goes_before: usize,
    /// The batch's share of what is sent while both wait, where interactive requests are more than is allowed.
    pub batch_share: Option<f64>,
    /// How many requests less than one in eight the batch gets, in the worst stretch in which both wait.
    pub behind_floor: f64,
    /// The longest time in which some of the batch wait and none is sent, in seconds.
    pub batch_stands_still: f64,
    /// The share of the slots that were used until the last request was sent.
    pub used: f64,
    /// The most requests that were sent in any period.
    pub worst_window: usize,
}

/// Ten tenants at one endpoint: one greedy, and all of them greedy, with weights from 1 to 4. The worst of all seeds,
/// where nothing else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fairness {
    pub client: String,
    pub polite: Waits,
    pub greedy: Waits,
    /// The most by which one tenant gets ahead of another while both wait: 1 is what one request of each takes.
    pub of_bound: f64,
    /// The share of the slots that were used until the last request was sent.
    pub used: f64,
    /// With weights: the least and the most that a tenant gets of its part.
    pub least_part: f64,
    pub largest_part: f64,
    /// With weights: as `of_bound`.
    pub of_bound_by_weight: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Polls {
    pub client: String,
    pub per_admission: Vec<Crowd>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Crowd {
    pub waiting: usize,
    /// `None` where it would take minutes.
    pub polls: Option<f64>,
}

/// How many requests could have been sent and were not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cancelled {
    pub client: String,
    /// Since half of those who waited went away.
    pub lost_to_leavers: usize,
    /// Since services had been made ready, and were dropped.
    pub lost_to_readied: usize,
}

/// Answers that go on after their head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Streams {
    pub client: String,
    pub limit: usize,
    pub most_in_flight: usize,
    pub took: f64,
}

/// A limit that is not the one that was configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Learned {
    pub scenario: String,
    pub requests: usize,
    pub rows: Vec<LearnedRow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LearnedRow {
    pub client: String,
    /// What the server allows.
    pub allowed: usize,
    /// What the client took that for when nine requests in ten were done; `None` if it does not ask.
    pub found: Option<Spread<usize>>,
    pub refused: Spread<usize>,
    pub succeeded: Spread<usize>,
    pub took: Spread<f64>,
}

/// Calls that take different numbers of tokens, all there at the start. What is refused is sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensTable {
    pub scenario: String,
    pub calls: usize,
    pub rows: Vec<TokensRow>,
}

/// Means over all seeds, where nothing else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensRow {
    pub client: String,
    /// What it knows of a call before that is sent.
    pub estimates: String,
    /// Refusals per call that was accepted.
    pub refused: f64,
    /// The same, without those of the first minute.
    pub refused_later: f64,
    /// The share of what was allowed until the last call arrived.
    pub used: f64,
    /// The most tokens that were counted in any window's length: see the judge's `UnitReport`. The largest of
    /// all seeds.
    pub worst_window: u64,
    /// Until the last answer had been read, in seconds.
    pub took: Spread<f64>,
    /// The same of a client that knows all and keeps the order.
    pub best_possible: Spread<f64>,
    /// The share of pairs of calls of which the later one was accepted first.
    pub overtaken: f64,
    /// Calls without an answer in the end; the most of all seeds.
    pub lost: usize,
}

/// When requests were sent, for the picture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    pub scenario: String,
    pub client: String,
    /// Per second.
    pub limit: usize,
    pub requests: usize,
    pub refused: usize,
    /// Requests that got an answer other than a refusal.
    pub succeeded: usize,
    /// Until the last answer had been read, in seconds.
    pub took: f64,
    /// Milliseconds after the start, and how many were sent then.
    pub sent: Vec<(u64, usize)>,
}

/// One run, for the picture of who goes first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    pub scenario: String,
    pub client: String,
    /// Milliseconds after the start; and how long a request waited that came then, in milliseconds, or how many of a
    /// batch had been sent by then.
    pub points: Vec<(u64, u64)>,
}

/// The same loads as above, in real time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RealTime {
    pub client: String,
    pub edge: usize,
    pub after_idle: usize,
    /// Of 200, by the judge of the TTS scenario, ten times as fast.
    pub refused: usize,
    /// 1 000 at once, 200 per second.
    pub polls_per_admission: f64,
    pub worst_of_200: usize,
    pub overtaken: f64,
    pub longest_wait: f64,
}

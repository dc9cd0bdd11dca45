//! What runs came to, side by side: the figures of a draw, tables, and targets.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    clients::{Run, Who, run},
    draws::{Configured, Draw, Load},
};

/// The three clients on one draw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) seed: u64,
    /// By what tables group.
    kinds: Vec<(Group, String)>,
    period: Duration,
    learns: Outcome,
    does_not: Outcome,
    knows: Outcome,
}

/// A client on a draw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    pub(crate) sent: usize,
    pub(crate) refused: usize,
    pub(crate) given_up: usize,
    pub(crate) unanswered: usize,
    /// Successes a second from the third period on, if enough are left then.
    pace: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    All,
    Limit,
    Trouble,
    Delay,
    Configured,
    Load,
    Refused,
}

impl Figures {
    pub(crate) fn of(draw: &Draw) -> Self {
        let window = draw.server.limit.window();
        let outcome = |who| Outcome::of(&run(draw, who), window);
        let does_not = outcome(Who::DoesNotLearn);
        let mut kinds = kinds(draw);
        let refused = if does_not.refused == 0 {
            "nothing is refused"
        } else {
            "something is refused"
        };
        kinds.push((Group::Refused, refused.to_owned()));
        Self {
            seed: draw.seed,
            kinds,
            period: window.map_or(Duration::ZERO, |(_, period)| period),
            learns: outcome(Who::Learns),
            does_not,
            knows: outcome(Who::KnowsTheTruth),
        }
    }

    pub(crate) fn outcomes(&self) -> [(Who, &Outcome); 3] {
        [
            (Who::Learns, &self.learns),
            (Who::DoesNotLearn, &self.does_not),
            (Who::KnowsTheTruth, &self.knows),
        ]
    }

    /// Against the client that does not learn.
    fn time(&self) -> f64 {
        ratio(self.learns.took, self.does_not.took)
    }

    /// The same, with one period of the limit for nothing.
    fn time_beyond_a_period(&self) -> f64 {
        ratio(
            self.learns.took.saturating_sub(self.period),
            self.does_not.took,
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    fn sent(&self) -> f64 {
        self.learns.sent as f64 / self.does_not.sent as f64
    }

    /// How many times as long a request takes from the third period on as with the client that knows the truth.
    fn pace(&self) -> Option<f64> {
        Some(self.knows.pace? / self.learns.pace?)
    }

    pub(crate) fn line(&self) -> String {
        let outcome = |outcome: &Outcome| {
            format!(
                "{:.1} s, {} sent, {} refused, {} given up",
                outcome.took.as_secs_f64(),
                outcome.sent,
                outcome.refused,
                outcome.given_up
            )
        };
        format!(
            "seed {}: time {:.2} ({:.2} less a period), sent {:.2}, pace {}; learns: {}; does not: {}; knows: {}",
            self.seed,
            self.time(),
            self.time_beyond_a_period(),
            self.sent(),
            self.pace()
                .map_or("-".to_owned(), |pace| format!("{pace:.2}")),
            outcome(&self.learns),
            outcome(&self.does_not),
            outcome(&self.knows),
        )
    }
}

impl Outcome {
    pub(crate) fn of(run: &Run, window: Option<(u32, Duration)>) -> Self {
        Self {
            took: run.took,
            sent: run.sent(),
            refused: run.refused(),
            given_up: run.given_up,
            unanswered: run.unanswered,
            pace: window.and_then(|(n, period)| pace(&run.done, n, period)),
        }
    }
}

/// Successes a second from the last one before the third period to the last of all; nothing if fewer than two
/// periods' worth are left, of which the first and last successes would say too little.
#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn pace(done: &[Duration], n: u32, period: Duration) -> Option<f64> {
    let before = done.partition_point(|&at| at < period * 2);
    let left = done.len() - before;
    if left < 2 * usize::try_from(n).expect("few") {
        return None;
    }
    let from = before
        .checked_sub(1)
        .map_or(Duration::ZERO, |last| done[last]);
    let time = *done.last()? - from;
    Some(left as f64 / time.as_secs_f64().max(0.001))
}

fn kinds(draw: &Draw) -> Vec<(Group, String)> {
    let server = &draw.server;
    let delay = match server.manner.form {
        Some(form) => format!("delay, {form:?}"),
        None => "no delay".to_owned(),
    };
    let configured = match draw.configured {
        Configured::Nothing => "nothing configured",
        Configured::Published => "published limit",
        Configured::OnlyWindow | Configured::OnlyAtOnce => "one of two limits",
        Configured::TooHigh(_) => "too high",
    };
    let load = match &draw.load {
        Load::Callers(1) => "one caller",
        Load::Callers(2..=10) => "2 to 10 callers",
        Load::Callers(_) => "20 to 200 callers",
        Load::Arrivals(_) => "arrivals",
    };
    let mut kinds = vec![
        (Group::All, "all".to_owned()),
        (Group::Limit, server.limit.name().to_owned()),
        (Group::Trouble, server.trouble.name().to_owned()),
        (Group::Configured, configured.to_owned()),
        (Group::Load, load.to_owned()),
        (Group::Delay, delay),
    ];
    if server.manner.form.is_some() {
        kinds.push((Group::Delay, "delay".to_owned()));
    }
    if server.network.jitter > Duration::ZERO {
        kinds.push((Group::Trouble, "jitter".to_owned()));
    }
    kinds
}

/// A line for each kind of draw.
pub(crate) fn table(all: &[Figures]) -> String {
    let mut groups = BTreeMap::<_, Vec<&Figures>>::new();
    for figures in all {
        for kind in &figures.kinds {
            groups.entry(kind).or_default().push(figures);
        }
    }
    let mut table = format!(
        "{:22} {:>5}  {:>6} {:>6} {:>8} {:>12}  {:>6} {:>6} {:>12}  {:>6} {:>6} {:>5}\n",
        "",
        "draws",
        "time",
        "95 %",
        "- period",
        "worst",
        "sent",
        "95 %",
        "worst",
        "pace",
        "95 %",
        "of"
    );
    let mut last = Group::All;
    for ((group, name), figures) in groups {
        if last != *group {
            table.push('\n');
            last = *group;
        }
        let summary = Summary::of(&figures);
        let worst = |(ratio, seed): (f64, u64)| format!("{ratio:.2} #{seed}");
        let _ = writeln!(
            table,
            "{name:22} {:5}  {:6.2} {:6.2} {:8.2} {:>12}  {:6.2} {:6.2} {:>12}  {:6.2} {:6.2} {:5}",
            figures.len(),
            summary.time,
            summary.time_95,
            summary.beyond_95,
            worst(summary.worst),
            summary.sent,
            summary.sent_95,
            worst(summary.most),
            summary.pace,
            summary.pace_95,
            summary.paces,
        );
    }
    table
}

/// The targets that are missed.
pub(crate) fn missed(all: &[Figures]) -> Vec<String> {
    let summary = Summary::of(&all.iter().collect::<Vec<_>>());
    let targets = [
        ("time, median", summary.time, 1.0),
        (
            "time less a period, 95th percentile",
            summary.beyond_95,
            1.1,
        ),
        ("time, worst", summary.worst.0, 2.0),
        ("sent, 95th percentile", summary.sent_95, 1.02),
        ("pace beside the truth, median", summary.pace, 1.25),
    ];
    let missed = targets.iter().filter(|&&(_, is, target)| is > target);
    missed
        .map(|(name, is, target)| format!("{name}: {is:.3}, target {target}"))
        .collect()
}

struct Summary {
    time: f64,
    time_95: f64,
    beyond_95: f64,
    worst: (f64, u64),
    sent: f64,
    sent_95: f64,
    most: (f64, u64),
    pace: f64,
    pace_95: f64,
    paces: usize,
}

impl Summary {
    fn of(all: &[&Figures]) -> Self {
        let times = sorted(all.iter().map(|figures| (figures.time(), figures.seed)));
        let beyond = sorted(
            all.iter()
                .map(|figures| (figures.time_beyond_a_period(), figures.seed)),
        );
        let sent = sorted(all.iter().map(|figures| (figures.sent(), figures.seed)));
        let paces = sorted(
            all.iter()
                .filter_map(|figures| Some((figures.pace()?, figures.seed))),
        );
        Self {
            time: percentile(&times, 50),
            time_95: percentile(&times, 95),
            beyond_95: percentile(&beyond, 95),
            worst: times.last().copied().unwrap_or_default(),
            sent: percentile(&sent, 50),
            sent_95: percentile(&sent, 95),
            most: sent.last().copied().unwrap_or_default(),
            pace: percentile(&paces, 50),
            pace_95: percentile(&paces, 95),
            paces: paces.len(),
        }
    }
}

fn sorted(ratios: impl Iterator<Item = (f64, u64)>) -> Vec<(f64, u64)> {
    let mut ratios: Vec<_> = ratios.collect();
    ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
    ratios
}

/// The smallest that so many percent do not exceed; 0 of nothing.
fn percentile(sorted: &[(f64, u64)], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |&(ratio, _)| ratio)
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tower_throttle::{Event, EventKind, Learned, Observer, PauseCause, signal::SignalKind};

/// For how long throttled answers are kept.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The time after which buckets that were throttled are looked through.
const PRUNES: Duration = Duration::from_secs(5);

/// How many pieces of news are kept.
const NEWS: usize = 50;

/// An observer that keeps what a snapshot does not have: the throttled answers of the last minute, and the latest news.
///
/// Clones share what they keep. It keeps times for buckets that were throttled within a little more than the last minute,
/// and the last 50 pieces of news.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// When, and how many.
    throttled: HashMap<Key, VecDeque<(Instant, u64)>>,
    /// When all of those were looked through for what is too old.
    pruned: Option<Instant>,
    news: VecDeque<(Instant, News)>,
}

/// The name of a bucket, and its partition.
type Key = (String, Option<u64>);

/// Something that was decided about a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// How long ago.
    pub ago: Duration,
    /// The name of the bucket.
    pub bucket: String,
    /// In a few words.
    pub words: String,
}

impl Recent {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Throttled answers of a bucket, second by second: the last entry is the second that ends now, the first is the one
    /// that ended 59 s ago.
    pub fn throttled(&self, bucket: &str, partition: Option<u64>) -> Vec<u64> {
        let now = Instant::now();
        let seconds = MINUTE.as_secs() as usize;
        let mut counts = vec![0; seconds];
        let key = (bucket.to_owned(), partition);
        for (at, n) in self.kept().throttled.get(&key).into_iter().flatten() {
            let ago = now.saturating_duration_since(*at).as_secs() as usize;
            if ago < seconds {
                counts[seconds - 1 - ago] += n;
            }
        }
        counts
    }

    /// The latest news, newest first.
    pub fn news(&self) -> Vec<News> {
        let now = Instant::now();
        let ago = |(at, news): &(Instant, News)| News {
            ago: now.saturating_duration_since(*at),
            ..news.clone()
        };
        self.kept().news.iter().rev().map(ago).collect()
    }

    /// That many answers were throttled.
    pub(crate) fn add(&self, bucket: &str, partition: Option<u64>, at: Instant, n: u64) {
        let mut kept = self.kept();
        let key = (bucket.to_owned(), partition);
        kept.throttled.entry(key).or_default().push_back((at, n));
        // There may be many buckets, and an observer has to be quick.
        let is_due = |last| at.saturating_duration_since(last) >= PRUNES;
        if !kept.pruned.is_none_or(is_due) {
            return;
        }
        kept.pruned = Some(at);
        kept.throttled.retain(|_, times| {
            times.retain(|(time, _)| at.saturating_duration_since(*time) < MINUTE);
            !times.is_empty()
        });
    }

    fn tell(&self, event: &Event<'_>, words: String) {
        let bucket = event.bucket.to_owned();
        let ago = Duration::ZERO;
        let news = News { ago, bucket, words };
        let mut kept = self.kept();
        kept.news.push_back((event.at, news));
        if kept.news.len() > NEWS {
            kept.news.pop_front();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What it holds is right after each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recent {
    fn on_event(&self, event: &Event<'_>) {
        match event.kind {
            EventKind::Throttled(signal) => {
                let out_of_credits = signal.kind() == SignalKind::QuotaExhausted;
                if out_of_credits {
                    self.tell(event, "credits are used up".to_owned());
                } else {
                    self.add(event.bucket, event.partition, event.at, 1);
                }
            }
            EventKind::Paused { time, cause } => {
                let why = cause_of(cause);
                self.tell(event, format!("paused for {}: {why}", seconds(time)));
            }
            EventKind::Resumed => self.tell(event, "resumed".to_owned()),
            EventKind::Learned(learned) => {
                self.tell(event, format!("learned {}", lesson(&learned)));
            }
            EventKind::Eased(Some(learned)) => {
                self.tell(
                    event,
                    format!("gave back a part, keeps {}", lesson(&learned)),
                );
            }
            EventKind::Eased(None) => self.tell(event, "gave back what it had learned".to_owned()),
            EventKind::Refused(refused) => self.tell(event, refused.to_string()),
            EventKind::BodyOpen { time } => {
                let time = seconds(time);
                self.tell(event, format!("a body is open for {time}, and others wait"));
            }
            EventKind::Closed => self.tell(event, "closed".to_owned()),
            EventKind::StoreAway(error) => {
                self.tell(event, format!("the store does not answer: {error}"));
            }
            EventKind::StoreBack { time } => {
                let time = seconds(time);
                self.tell(event, format!("the store answers again, after {time}"));
            }
            EventKind::Disagrees(warning) => self.tell(event, warning.to_string()),
            _ => {}
        }
    }
}

fn cause_of(cause: PauseCause) -> &'static str {
    match cause {
        PauseCause::Asked => "the server asked for it",
        PauseCause::BackOff => "throttled without a time",
        PauseCause::QuotaHeaders => "the quota headers say that nothing is left",
        PauseCause::Handle => "by the handle",
        _ => "for another reason",
    }
}

/// What was learned, in a few words.
pub(crate) fn lesson(learned: &Learned) -> String {
    let mut words = String::new();
    let mut separator = "";
    // Writing to a string cannot fail.
    let mut add = |part: String| {
        let _ = write!(words, "{separator}{part}");
        separator = ", ";
    };
    if let Some((n, _)) = learned.concurrency() {
        add(format!("{n} at once"));
    }
    if let Some((n, period, _)) = learned.rate() {
        add(format!("{n} per {}", seconds(period)));
    }
    if let Some(thousandths) = learned.margin() {
        add(margin(u64::from(thousandths)));
    }
    if let Some(pace) = learned.pace() {
        add(format!("one each {}", seconds(pace)));
    }
    words
}

/// A margin, from thousandths of a window.
pub(crate) fn margin(thousandths: u64) -> String {
    format!("a margin of {}.{} %", thousandths / 10, thousandths % 10)
}

/// A time as people read it.
pub(crate) fn seconds(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    match tenths {
        0 if time.is_zero() => "0 s".to_owned(),
        0 => format!("{} ms", time.as_millis().max(1)),
        1..600 if tenths.is_multiple_of(10) => format!("{} s", tenths / 10),
        1..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => {
            let seconds = (tenths + 5) / 10;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

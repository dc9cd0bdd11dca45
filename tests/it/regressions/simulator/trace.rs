//! What happened in a run, in words.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    clients::Run,
    servers::{Verdict, Visit},
};

/// Attempts that were sent within this time of each other are told in one line.
const TOGETHER: Duration = Duration::from_millis(50);

/// A line for each crowd of attempts, and for what the layer told in between; of several pauses or lessons in a
/// row only the last.
pub(crate) fn trace(run: &Run) -> String {
    let mut lines = Vec::new();
    let mut visits = run.visits.iter().peekable();
    while let Some(first) = visits.next() {
        let mut crowd = vec![first];
        let mut last = first.sent;
        while let Some(visit) = visits.next_if(|visit| visit.sent <= last + TOGETHER) {
            last = visit.sent;
            crowd.push(visit);
        }
        lines.push((first.sent, sent(&crowd)));
    }
    let mut news = run.news.iter().peekable();
    while let Some((at, what)) = news.next() {
        let mut more = 0;
        let mut latest = (at, what);
        let kind = |what: &str| what.split(' ').next().map(str::to_owned);
        while let Some((at, next)) =
            news.next_if(|(later, next)| kind(next) == kind(what) && *later <= *latest.0 + TOGETHER)
        {
            more += 1;
            latest = (at, next);
        }
        let times = if more > 0 {
            format!(", after {more} others")
        } else {
            String::new()
        };
        lines.push((*latest.0, format!("{}{times}", latest.1)));
    }
    lines.sort_by_key(|&(at, _)| at);
    let mut text = String::new();
    for (at, what) in lines {
        let _ = writeln!(text, "{:10.3}  {what}", at.as_secs_f64());
    }
    text
}

fn sent(crowd: &[&Visit]) -> String {
    let mut fates = BTreeMap::new();
    for visit in crowd {
        let fate = match visit.verdict {
            Some(Verdict::Served) => "served".to_owned(),
            Some(Verdict::Refused(by)) => format!("refused ({by:?})"),
            None => "on its way when the run ended".to_owned(),
        };
        *fates.entry(fate).or_insert(0) += 1;
    }
    let mut text = format!("{} sent", crowd.len());
    let last = crowd[crowd.len() - 1].sent;
    if last > crowd[0].sent {
        let _ = write!(text, " until {:.3}", last.as_secs_f64());
    }
    for (fate, count) in fates {
        let _ = write!(text, ", {count} {fate}");
    }
    let again = crowd.iter().filter(|visit| visit.attempt > 1).count();
    if again > 0 {
        let most = crowd.iter().map(|visit| visit.attempt).max().unwrap_or(1);
        let _ = write!(text, "; {again} again, up to attempt {most}");
    }
    text
}

//! What happened in a run, in words.

use std::{fmt::Write as _, time::Duration};

use crate::{
    clients::Run,
    servers::{Verdict, Visit},
};

/// A line for each stretch of attempts that had the same fate, and for what the layer told in between.
pub(crate) fn trace(run: &Run) -> String {
    let mut text = String::new();
    let mut news = run.news.iter().peekable();
    let mut stretch: Vec<&Visit> = Vec::new();
    let tell = |text: &mut String, at: Duration, what: &str| {
        let _ = writeln!(text, "{:10.3}  {what}", at.as_secs_f64());
    };
    for visit in &run.visits {
        while let Some((at, what)) = news.next_if(|(at, _)| *at < visit.sent) {
            end(&mut text, &mut stretch);
            tell(&mut text, *at, what);
        }
        if stretch
            .last()
            .is_some_and(|last| last.verdict != visit.verdict)
        {
            end(&mut text, &mut stretch);
        }
        stretch.push(visit);
    }
    end(&mut text, &mut stretch);
    for (at, what) in news {
        tell(&mut text, *at, what);
    }
    text
}

fn end(text: &mut String, stretch: &mut Vec<&Visit>) {
    let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
        return;
    };
    let what = match first.verdict {
        Some(Verdict::Served) => "served".to_owned(),
        Some(Verdict::Refused(by)) => format!("refused ({by:?})"),
        None => "never arrived".to_owned(),
    };
    let (from, to) = (first.sent.as_secs_f64(), last.sent.as_secs_f64());
    let again = stretch.iter().filter(|visit| visit.attempt > 1).count();
    let most = stretch.iter().map(|visit| visit.attempt).max().unwrap_or(1);
    let _ = writeln!(
        text,
        "{from:10.3}  to {to:.3}: {} sent and {what}, {again} of them again (attempt {most} at most)",
        stretch.len(),
    );
    stretch.clear();
}

//! The headline figures, as a section of the README.

mod who_goes_first;

use std::fmt::Write as _;

use super::{
    figures::{Figures, RealTime, WindowsRow},
    scenarios::{
        judged,
        tokens::{self, Estimates},
    },
};

const BEGIN: &str = "<!-- measured: `.ci/results` writes what follows -->\n";
const END: &str = "<!-- measured: to here -->\n";

/// The text with fresh figures between its marks.
pub fn with_section(text: &str, figures: &Figures) -> Result<String, String> {
    let missing = || format!("the text has no {BEGIN:?} and {END:?}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", section(figures)))
}

/// A client, by the names that it has in the tables: they are the names of what it is made of there.
struct Client {
    name: &'static str,
    limiter: &'static str,
    streams: &'static str,
    /// A mode of it that has another worst second, and its name in the table.
    mode: Option<(&'static str, &'static str)>,
}

const CLIENTS: [Client; 9] = [
    Client {
        name: "tower: `Buffer`, `ConcurrencyLimit`, `RateLimit`",
        limiter: "tower: buffer, concurrency, rate",
        streams: "tower: concurrency",
        mode: None,
    },
    Client {
        name: "tower-resilience: bulkhead, fixed window",
        limiter: "tower-resilience: fixed window",
        streams: "tower-resilience: bulkhead",
        mode: None,
    },
    Client {
        name: "tower-resilience: bulkhead, sliding log",
        limiter: "tower-resilience: sliding log",
        streams: "tower-resilience: bulkhead",
        mode: Some((
            "back-pressure",
            "tower-resilience: sliding log, back-pressure",
        )),
    },
    Client {
        name: "throttle-net: bulkhead, token bucket",
        limiter: "throttle-net: n per second",
        streams: "throttle-net: bulkhead",
        mode: None,
    },
    Client {
        name: "throttle-net: bulkhead, sliding log",
        limiter: "throttle-net: sliding log",
        streams: "throttle-net: bulkhead",
        mode: None,
    },
    Client {
        name: "leaky-bucket, semaphore",
        limiter: "leaky-bucket: n per second",
        streams: "tokio semaphore around the call",
        mode: None,
    },
    Client {
        name: "two tokio semaphores, and a timer per call",
        limiter: "tokio semaphores and a timer per call",
        streams: "tokio semaphore around the call",
        mode: None,
    },
    Client {
        name: "a loop that looks every 50 ms",
        limiter: "polling loop, every 50 ms",
        streams: "polling loop, every 50 ms",
        mode: None,
    },
    Client {
        name: "**tower-throttle**",
        limiter: "tower-throttle",
        streams: "tower-throttle",
        mode: None,
    },
];

const CROWD: usize = 1_000;

fn section(figures: &Figures) -> String {
    let mut out = String::from(
        "\n| | worst second, 20 allowed | refused | done in the best possible time | refused, with jitter \
         | polls per request, 1 000 waiting | overtaken | streams at once, 4 allowed \
         |\n|---|---|---|---|---|---|---|---|\n",
    );
    let (ours, others) = CLIENTS.split_last().expect("there are some");
    for client in others {
        row(&mut out, client, figures);
    }
    for governor in figures.real_time.iter().flatten() {
        real_time_row(&mut out, governor);
    }
    row(&mut out, ours, figures);
    storm(&mut out, figures);
    tokens(&mut out, figures);
    who_goes_first::write(&mut out, figures);
    versions(&mut out, figures);
    out
}

fn row(out: &mut String, client: &Client, figures: &Figures) {
    let is_it = |name: &str| name == client.limiter;
    let worst = |limiter: &str| {
        let mut rows = figures.windows.rows.iter();
        rows.find(|row| row.client == limiter)
            .map_or(0, WindowsRow::worst)
    };
    let mut worst_second = called_at_once(client.limiter, figures);
    if let Some((mode, limiter)) = client.mode {
        let _ = write!(worst_second, " ({mode}: {})", worst(limiter));
    }
    let judged = |scenario: judged::Scenario| {
        let mut rows = figures.judged(scenario.name).rows.iter();
        rows.find(|row| is_it(&row.client))
            .expect("everyone is judged")
    };
    let polls = figures.polls.iter().find(|row| is_it(&row.client));
    let crowd = polls.and_then(|row| {
        row.per_admission
            .iter()
            .find(|crowd| crowd.waiting == CROWD)
    });
    let polls = crowd.and_then(|crowd| crowd.polls);
    let order = figures.order.iter().find(|row| is_it(&row.client));
    let mut overtaken = order.map_or(String::new(), |row| share(row.overtaken));
    // Under the paused clock nobody wakes out of order.
    let mut real_time = figures.real_time.iter().flatten();
    let really = real_time.find(|row| is_it(&row.client));
    if let Some(really) = really.filter(|row| row.overtaken >= 0.01) {
        let _ = write!(overtaken, ", *{}*", share(really.overtaken));
    }
    let mut streams = figures.streams.iter();
    let streams = streams.find(|row| row.client == client.streams);
    let _ = writeln!(
        out,
        "| {} | {worst_second} | {} | {:.0} % | {} | {} | {} | {} |",
        client.name,
        judged(judged::TTS).refused.median,
        judged(judged::TTS).utilisation.unwrap_or_default() * 100.0,
        judged(judged::SHAKY).refused.median,
        polls.map_or(String::new(), |polls| format!("{polls:.1}")),
        overtaken,
        streams.map_or(0, |row| row.most_in_flight),
    );
}

/// The worst second, and another one if that is due to services that were made ready early.
fn called_at_once(limiter: &str, figures: &Figures) -> String {
    let mut rows = figures.windows.rows.iter();
    let Some(row) = rows.find(|row| row.client == limiter) else {
        return String::new();
    };
    let worst = row.saturated.max(row.edge).max(row.after_idle);
    if row.readied_early > worst {
        format!("{worst} (readied early: {})", row.readied_early)
    } else {
        worst.to_string()
    }
}

/// As far as it can be measured in real time, in italics.
fn real_time_row(out: &mut String, row: &RealTime) {
    let name = match row.client.as_str() {
        "governor: n per second" => "governor, semaphore",
        "governor: burst of one" => "the same, with a burst of one",
        _ => return,
    };
    let worst = row.edge.max(row.after_idle);
    let _ = writeln!(
        out,
        "| {name} | *{worst}* | *{}* | | | *{:.0}* | *{}* | |",
        row.refused,
        row.polls_per_admission,
        share(row.overtaken),
    );
}

fn share(share: f64) -> String {
    match share {
        0.0 => "none".to_owned(),
        share if share < 0.01 => format!("{:.1} %", share * 100.0),
        share => format!("{:.0} %", share * 100.0),
    }
}

fn storm(out: &mut String, figures: &Figures) {
    let _ = write!(
        out,
        "\nAnd if nobody has configured the limit: {} requests at once, 20 per second allowed, and a\n\
         `Retry-After: 1` on each refusal:\n\n\
         | | sent | of them too early | succeeded | took |\n|---|---|---|---|---|\n",
        figures.storm[0].requests,
    );
    let clients = [
        (
            "tower retry, exponential with jitter",
            "tower: `Retry`, ten exponential delays with jitter",
        ),
        (
            "tower-resilience retry, exponential ±50 %",
            "tower-resilience: retry, the same",
        ),
        (
            "reqwest-retry's policy",
            "reqwest-retry's policy, ten retries",
        ),
        (
            "backon, with Retry-After",
            "backon, with `Retry-After` in place of its delays",
        ),
        ("tower-throttle", "**tower-throttle**"),
    ];
    for (client, name) in clients {
        let rows = &figures.storm[0].rows;
        let row = rows.iter().find(|row| row.client == client);
        let Some(row) = row else { continue };
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {:.1} s |",
            thousands(row.sent.median),
            row.early.median,
            row.succeeded.median,
            row.took.median,
        );
    }
}

fn tokens(out: &mut String, figures: &Figures) {
    out.push_str(
        "\nAnd in tokens: 400 calls at once, of 100 to 900 tokens each, where 10 000 a minute are allowed and counted \
         at arrival.\nRefused calls are sent again when the server says. In each column: refusals per hundred calls, \
         and how much was used of\nwhat was allowed (means of 10 runs). Where nothing is known of a call, the others \
         take it for the mean.\n\n\
         | | exact estimates | upper bounds, up to 2 times | off by up to 2 times | none | overtaken, at most \
         |\n|---|---|---|---|---|---|\n",
    );
    let clients = [
        (
            "throttle-net: n per minute",
            "throttle-net: token bucket, settled",
        ),
        (
            "throttle-net: sliding log",
            "throttle-net: sliding log, settled",
        ),
        ("governor: n per minute", "governor: `until_n_ready`"),
        ("leaky-bucket: n per minute", "leaky-bucket: `acquire(n)`"),
        (
            "tokio semaphore and a timer per call",
            "a tokio semaphore, and a timer per call",
        ),
        ("tower-throttle", "**tower-throttle**"),
    ];
    for (client, name) in clients {
        let _ = write!(out, "| {name} |");
        let mut overtaken = 0.0_f64;
        for estimates in Estimates::ALL {
            let mut rows = figures.tokens(tokens::HEADLINE, estimates.name());
            let Some(row) = rows.find(|row| row.client == client) else {
                continue;
            };
            let _ = write!(
                out,
                " {:.1}, {:.0} % |",
                row.refused * 100.0,
                row.used * 100.0
            );
            overtaken = overtaken.max(row.overtaken);
        }
        let _ = writeln!(out, " {} |", share(overtaken));
    }
    out.push_str(
        "\nAn exact window that settles is not refused while nobody underestimates, and a tokio semaphore by hand is \
         as good at\nthat. Where estimates are off, the hand-written window does not learn of it, and ours learns a \
         margin. throttle-net's\nsliding log is refused less often than ours there, and uses less; with exact estimates \
         it uses more, since small calls\npass large ones. A token bucket lets up to two minutes' worth go in one.\n",
    );
}

fn thousands(n: usize) -> String {
    if n < 1_000 {
        n.to_string()
    } else {
        format!("{} {:03}", n / 1_000, n % 1_000)
    }
}

fn versions(out: &mut String, figures: &Figures) {
    let of = |name: &str| {
        let version = figures.versions.get(name);
        version.map_or(String::new(), |version| format!("{name} {version}"))
    };
    let versions = [
        of("tower"),
        of("tower-resilience-ratelimiter").replace("-ratelimiter", ""),
        of("throttle-net"),
        of("leaky-bucket"),
        of("governor"),
        of("backon"),
        of("retry-policies"),
    ];
    let _ = writeln!(out, "\nMeasured with {}.\n", versions.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_marks_is_refused() {
        let figures: Figures =
            serde_json::from_str(include_str!("../../results/compliance.json")).unwrap();
        assert!(with_section("nothing to replace\n", &figures).is_err());
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let fresh = with_section(&text, &figures).unwrap();
        assert!(fresh.starts_with("before\n") && fresh.ends_with("after\n"));
        assert!(!fresh.contains("old\n"));
        assert_eq!(with_section(&fresh, &figures).unwrap(), fresh);
    }
}

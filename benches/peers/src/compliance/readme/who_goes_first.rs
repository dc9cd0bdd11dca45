//! Classes and tenants, in short.

use std::fmt::Write as _;

use crate::compliance::{
    figures::{Fairness, Figures, PriorityRow, Waits},
    scenarios::priority::{BACKLOG, SATURATED},
};

/// By the names that they have in the tables.
const CLIENTS: [(&str, &str); 5] = [
    ("tower: buffer, rate", "tower: `Buffer`, `RateLimit`"),
    (
        "tokio semaphore and a timer per call",
        "a tokio semaphore, and a timer per call",
    ),
    (
        "throttle-net: queue, sliding log",
        "throttle-net: `Queue` over a sliding log",
    ),
    (
        "tower-throttle, no floor",
        "tower-throttle, `priority_floor(None)`",
    ),
    ("tower-throttle", "**tower-throttle**"),
];

pub fn write(out: &mut String, figures: &Figures) {
    out.push_str(
        "\nAnd who goes first, where one request per 50 ms is allowed. 1 000 requests of a batch wait, and 5 interactive \
         ones come per\nsecond. Then 25 per second, which is more than is allowed: what does the batch still get? All \
         keep to the limit and leave\nno slot unused (medians of 20 runs, and the worst of them; \
         [drawn](docs/priority.svg)).\n\n\
         | | interactive: median wait, worst | of the batch before one, at most | beside too many: the batch's share \
         | and its longest standstill |\n|---|---|---|---|---|\n",
    );
    for (client, name) in CLIENTS {
        let row = |scenario| {
            let mut rows = figures.priority(scenario).iter();
            rows.find(|row| row.client == client)
        };
        if let (Some(backlog), Some(saturated)) = (row(BACKLOG.name), row(SATURATED.name)) {
            classes(out, name, backlog, saturated);
        }
    }
    out.push_str(
        "\nTen tenants: one has 500 requests waiting, and each of the others sends one per second. Then all have many, \
         and weights\nfrom 1 to 4. Fair queueing lets one get ahead of another by one request of each, by weight, while \
         both wait: in multiples\nof that.\n\n\
         | | polite: median wait, worst | greedy: median wait | ahead of another, at most | by weight: of its part a \
         tenant gets | ahead of another, at most |\n|---|---|---|---|---|---|\n",
    );
    for (client, name) in CLIENTS {
        if let Some(row) = figures.fairness.iter().find(|row| row.client == client) {
            flows(out, name, row);
        }
    }
    out.push_str(
        "\nthrottle-net's queue is strict, serves its keys in turn, and knows no weights. tower and a semaphore go by \
         age, and so does\nours where requests state nothing. Bottleneck, for JavaScript, could not be run here: it \
         documents ten strict priorities\nwith the oldest first in each, and neither a floor nor shares.\n",
    );
}

fn classes(out: &mut String, name: &str, backlog: &PriorityRow, saturated: &PriorityRow) {
    let _ = writeln!(
        out,
        "| {name} | {} | {} | {:.1} % | {} |",
        waits(&backlog.interactive),
        backlog.goes_before,
        saturated.batch_share.unwrap_or_default() * 100.0,
        time(saturated.batch_stands_still),
    );
}

fn flows(out: &mut String, name: &str, row: &Fairness) {
    let _ = writeln!(
        out,
        "| {name} | {} | {} | {} | {:.0} to {:.0} % | {} |",
        waits(&row.polite),
        time(row.greedy.median.median),
        multiple(row.of_bound),
        row.least_part * 100.0,
        row.largest_part * 100.0,
        multiple(row.of_bound_by_weight),
    );
}

fn waits(waits: &Waits) -> String {
    format!("{}, {}", time(waits.median.median), time(waits.worst.max))
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.0} s")
    }
}

fn multiple(multiple: f64) -> String {
    if multiple < 10.0 {
        format!("{multiple:.1}")
    } else {
        format!("{multiple:.0}")
    }
}

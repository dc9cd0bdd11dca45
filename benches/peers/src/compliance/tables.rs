//! The tables, for people.

use std::fmt::{self, Display, Write as _};

use super::{
    columns::Table,
    figures::{Figures, Spread},
};

/// All of it.
pub fn to_string(figures: &Figures) -> String {
    let mut out = String::new();
    let versions: Vec<_> = figures
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let _ = writeln!(out, "{}", versions.join(", "));
    windows(&mut out, figures);
    judged(&mut out, figures);
    for table in figures.sent_again.iter().chain(&figures.storm) {
        let title = format!("{}: {} requests", table.scenario, table.requests);
        let header = ["client", "sent", "refused", "succeeded", "early", "took, s"];
        let mut rows = Table::new(&title, &header);
        for row in &table.rows {
            rows.row(&[
                &row.client,
                &row.sent,
                &row.refused,
                &row.succeeded,
                &row.early,
                &row.took,
            ]);
        }
        rows.print(&mut out);
    }
    order(&mut out, figures);
    priority(&mut out, figures);
    fairness(&mut out, figures);
    polls(&mut out, figures);
    cancelled(&mut out, figures);
    streams(&mut out, figures);
    learned(&mut out, figures);
    tokens(&mut out, figures);
    real_time(&mut out, figures);
    targets(&mut out, figures);
    out
}

fn windows(out: &mut String, figures: &Figures) {
    let limit = figures.windows.limit;
    let title = format!("Sent in the worst second, at {limit} per second");
    let header = ["client", "saturated", "edge", "after idle", "readied early"];
    let mut table = Table::new(&title, &header);
    for row in &figures.windows.rows {
        table.row(&[
            &row.client,
            &row.saturated,
            &row.edge,
            &row.after_idle,
            &row.readied_early,
        ]);
    }
    table.print(out);
}

fn judged(out: &mut String, figures: &Figures) {
    for table in &figures.judged {
        let title = format!("{}: {} requests at once", table.scenario, table.requests);
        let header = [
            "client",
            "refused",
            "took, s",
            "best possible, s",
            "done by then",
        ];
        let mut rows = Table::new(&title, &header);
        for row in &table.rows {
            rows.row(&[
                &row.client,
                &row.refused,
                &row.took,
                &Maybe(row.best_possible),
                &Maybe(row.utilisation.map(Share)),
            ]);
        }
        rows.print(out);
    }
}

fn order(out: &mut String, figures: &Figures) {
    let title = "Order: 1 000 waiting for 200 per second, 250 newcomers per second";
    let header = [
        "client",
        "pairs overtaken",
        "longest wait of the 1 000, s",
        "of all, s",
    ];
    let mut table = Table::new(title, &header);
    for row in &figures.order {
        table.row(&[
            &row.client,
            &Share(row.overtaken),
            &row.longest_wait,
            &row.longest_wait_of_all,
        ]);
    }
    table.print(out);
}

fn priority(out: &mut String, figures: &Figures) {
    for scenario in &figures.priority {
        let title = format!("Priority, {}", scenario.scenario);
        let header = [
            "client",
            "median wait, s",
            "worst",
            "of the batch",
            "worst",
            "goes before",
            "batch's share",
            "behind 1/8",
            "stands still, s",
            "used",
            "worst window",
        ];
        let mut table = Table::new(&title, &header);
        for row in &scenario.rows {
            table.row(&[
                &row.client,
                &row.interactive.median,
                &row.interactive.worst,
                &row.batch.median,
                &row.batch.worst,
                &row.goes_before,
                &Maybe(row.batch_share.map(Share)),
                &row.behind_floor,
                &row.batch_stands_still,
                &Share(row.used),
                &row.worst_window,
            ]);
        }
        table.print(out);
    }
}

fn fairness(out: &mut String, figures: &Figures) {
    let header = [
        "client",
        "median wait, s",
        "worst",
        "of the greedy",
        "worst",
        "ahead, of L16",
        "used",
        "by weight: least part",
        "largest",
        "ahead, of L16",
    ];
    let title =
        "Fairness, 1 per 50 ms: ten tenants, of which one is greedy, or all are and have weights";
    let mut table = Table::new(title, &header);
    for row in &figures.fairness {
        table.row(&[
            &row.client,
            &row.polite.median,
            &row.polite.worst,
            &row.greedy.median,
            &row.greedy.worst,
            &row.of_bound,
            &Share(row.used),
            &Share(row.least_part),
            &Share(row.largest_part),
            &row.of_bound_by_weight,
        ]);
    }
    table.print(out);
}

fn polls(out: &mut String, figures: &Figures) {
    let crowds = figures.polls[0].per_admission.iter();
    let header: Vec<_> = crowds
        .map(|crowd| format!("{} waiting", crowd.waiting))
        .collect();
    let mut columns = vec!["client"];
    columns.extend(header.iter().map(String::as_str));
    let mut table = Table::new("Polls per admission, at 20 per second", &columns);
    for row in &figures.polls {
        let polls: Vec<_> = row
            .per_admission
            .iter()
            .map(|crowd| Maybe(crowd.polls))
            .collect();
        let mut cells: Vec<&dyn Display> = vec![&row.client];
        cells.extend(polls.iter().map(|cell| cell as &dyn Display));
        table.row(&cells);
    }
    table.print(out);
}

fn cancelled(out: &mut String, figures: &Figures) {
    let header = ["client", "half of 400 leave", "20 readied and dropped"];
    let mut table = Table::new("Slots lost, at 20 per second", &header);
    for row in &figures.cancelled {
        table.row(&[&row.client, &row.lost_to_leavers, &row.lost_to_readied]);
    }
    table.print(out);
}

fn streams(out: &mut String, figures: &Figures) {
    let header = ["client", "limit", "most in flight", "took, s"];
    let mut table = Table::new("40 answers that are streamed for a second", &header);
    for row in &figures.streams {
        table.row(&[&row.client, &row.limit, &row.most_in_flight, &row.took]);
    }
    table.print(out);
}

fn learned(out: &mut String, figures: &Figures) {
    for scenario in &figures.learned {
        let title = format!("{}: {} requests", scenario.scenario, scenario.requests);
        let header = [
            "client",
            "allowed",
            "found",
            "refused",
            "succeeded",
            "took, s",
        ];
        let mut table = Table::new(&title, &header);
        for row in &scenario.rows {
            table.row(&[
                &row.client,
                &row.allowed,
                &Maybe(row.found),
                &row.refused,
                &row.succeeded,
                &row.took,
            ]);
        }
        table.print(out);
    }
}

fn tokens(out: &mut String, figures: &Figures) {
    for scenario in &figures.tokens {
        let title = format!("Tokens, {}: {} calls", scenario.scenario, scenario.calls);
        let header = [
            "client",
            "estimates",
            "refused per call",
            "after a minute",
            "used",
            "worst window",
            "took, s",
            "best possible, s",
            "overtaken",
            "lost",
        ];
        let mut table = Table::new(&title, &header);
        for row in &scenario.rows {
            table.row(&[
                &row.client,
                &row.estimates,
                &row.refused,
                &row.refused_later,
                &Share(row.used),
                &row.worst_window,
                &row.took,
                &row.best_possible,
                &Share(row.overtaken),
                &row.lost,
            ]);
        }
        table.print(out);
    }
}

fn real_time(out: &mut String, figures: &Figures) {
    let Some(rows) = &figures.real_time else {
        return;
    };
    let title = "In real time, since governor's clock cannot be paused: differs from run to run";
    let header = [
        "client",
        "edge (20)",
        "after idle (20)",
        "TTS x 10: refused",
        "worst of 1 000 (200)",
        "polls",
        "overtaken",
        "longest wait, s",
    ];
    let mut table = Table::new(title, &header);
    for row in rows {
        table.row(&[
            &row.client,
            &row.edge,
            &row.after_idle,
            &row.refused,
            &row.worst_of_200,
            &row.polls_per_admission,
            &Share(row.overtaken),
            &row.longest_wait,
        ]);
    }
    table.print(out);
}

fn targets(out: &mut String, figures: &Figures) {
    let header = [
        "what",
        "target",
        "ours",
        "best other",
        "ours to it",
        "met",
        "who",
    ];
    let mut table = Table::new(
        "Targets; ours is the worst of all runs, and so are the others'",
        &header,
    );
    for row in &figures.targets {
        let best = row.best_peer.as_ref();
        let ratio = best
            .filter(|best| best.figure > 0.0)
            .map(|best| format!("{:.2}", row.ours / best.figure));
        table.row(&[
            &row.what,
            &format!("at most {}", row.at_most),
            &row.ours,
            &Maybe(best.map(|best| best.figure)),
            &Maybe(ratio),
            &(if row.met { "yes" } else { "NO" }),
            &Maybe(best.map(|best| &best.name)),
        ]);
    }
    table.print(out);
}

/// `3`, or `2, 3, 5` for minimum, median and maximum.
impl<T: Display + PartialEq> Display for Spread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        if min == max {
            write!(f, "{min}")
        } else {
            write!(f, "{min}, {median}, {max}")
        }
    }
}

/// A dash for nothing.
struct Maybe<T>(Option<T>);

impl<T: Display> Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// In per cent.
struct Share(f64);

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}

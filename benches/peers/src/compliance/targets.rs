//! What has to hold, and the best that anybody else does with the same load.

use super::{
    figures::{
        BestPeer, Fairness, Figures, Judged, PriorityRow, SentAgain, SentAgainRow, Target,
        TokensRow,
    },
    scenarios::{
        judged,
        priority::{self, Scenario},
        tokens::{self, Estimates},
    },
};

pub const OURS: &str = "tower-throttle";
const NOBODY: &str = "no limiter";

pub fn targets(figures: &Figures) -> Vec<Target> {
    let mut targets = vec![target(
        "sent in the worst second at 20 per second, over four loads",
        f64::from(figures.windows.limit),
        figures
            .windows
            .rows
            .iter()
            .map(|row| (&*row.client, row.worst() as f64)),
    )];
    let easy = [
        (judged::TTS, "TTS"),
        (judged::BOTH, "both bind"),
        (judged::CLONE, "clone"),
    ];
    for (scenario, name) in easy {
        let table = figures.judged(scenario.name);
        targets.push(refused(table, name, 0));
        // Who loses requests is done sooner.
        let complete = table.rows.iter().filter(|row| row.refused.max == 0);
        targets.push(target(
            &format!("{name}: milliseconds from the best possible end"),
            1.0,
            complete.filter_map(|row| Some((&*row.client, row.off_by_ms?))),
        ));
    }
    let margin = figures.judged(judged::MARGIN.name);
    targets.push(refused(margin, "jitter, margin", 0));
    let alone = figures.judged(judged::MARGIN_ALONE.name);
    let complete = alone.rows.iter().filter(|row| row.refused.max == 0);
    targets.push(target(
        "jitter, margin: last request sent, s (windows alone, 42.9 possible)",
        // 200 requests are 40 windows of 5, and the last of them begins 39 windows of 1.1 s later.
        39.0 * 1.1 * 1.01,
        complete.map(|row| (&*row.client, row.last_sent.max)),
    ));
    let [few, many] = [&figures.sent_again[0], &figures.sent_again[1]];
    targets.extend([
        sent_again("jitter, no margin: refused of 200", 5.0, few, |row| {
            row.refused.max as f64
        }),
        sent_again("jitter, no margin: refused of 2 000", 10.0, many, |row| {
            row.refused.max as f64
        }),
        lost("jitter, no margin: lost of 2 200", 0.0, &[few, many]),
        sent_again("jitter, no margin: 200 took, s", 44.5, few, |row| {
            row.took.max
        }),
    ]);
    let storm = &figures.storm[0];
    targets.extend([
        sent_again("storm: sent for 200", 400.0, storm, |row| {
            row.sent.max as f64
        }),
        lost("storm: lost of 200", 0.0, &[storm]),
        sent_again("storm: took, s", 11.0, storm, |row| row.took.max),
        sent_again("storm: sent early", 0.0, storm, |row| row.early.max as f64),
    ]);
    targets.push(target(
        "polls per admission, 200 to 16 000 waiting",
        2.1,
        figures.polls.iter().filter_map(|row| {
            let polls: Option<Vec<_>> = row.per_admission.iter().map(|crowd| crowd.polls).collect();
            let most = polls?.into_iter().fold(0.0, f64::max);
            Some((&*row.client, most))
        }),
    ));
    targets.push(target(
        "overtaken pairs, share",
        0.0,
        figures
            .order
            .iter()
            .map(|row| (&*row.client, row.overtaken)),
    ));
    targets.extend(who_goes_first(figures));
    targets.push(target(
        "slots lost when half of a queue leaves, or a readied service",
        0.0,
        figures.cancelled.iter().map(|row| {
            let lost = row.lost_to_leavers + row.lost_to_readied;
            (&*row.client, lost as f64)
        }),
    ));
    targets.push(target(
        "streamed answers in flight at a limit of 4",
        4.0,
        figures
            .streams
            .iter()
            .map(|row| (&*row.client, row.most_in_flight as f64)),
    ));
    for (scenario, counted) in [
        (tokens::HEADLINE, "counted at arrival"),
        (tokens::AT_END, "counted at the end"),
    ] {
        let mut tokens =
            |what: &str, estimates: Estimates, at_most, figure: fn(&TokensRow) -> f64| {
                let rows = figures.tokens(scenario, estimates.name());
                let figures = rows.map(|row| (&*row.client, figure(row)));
                let what = format!("tokens {counted}, estimates {}: {what}", estimates.name());
                targets.push(target(&what, at_most, figures));
            };
        for estimates in [Estimates::Exact, Estimates::UpperBounds] {
            tokens("refused per call", estimates, 0.0, |row| row.refused);
            tokens("worst window", estimates, 10_000.0, |row| {
                row.worst_window as f64
            });
        }
        for estimates in [Estimates::Off, Estimates::Nothing] {
            tokens("refused after a minute", estimates, 0.02, |row| {
                row.refused_later
            });
        }
        tokens("pairs overtaken", Estimates::Off, 0.0, |row| row.overtaken);
    }
    targets
}

/// Classes and flows: laws L15 and L16.
fn who_goes_first(figures: &Figures) -> Vec<Target> {
    // The worst of these loads.
    let classes = |what: &str, at_most, loads: &[Scenario], figure: fn(&PriorityRow) -> f64| {
        let rows = || loads.iter().flat_map(|load| figures.priority(load.name));
        let worst = rows().map(|row| {
            let of_client = rows().filter(|other| other.client == row.client);
            let worst = of_client.map(figure).fold(f64::NEG_INFINITY, f64::max);
            (&*row.client, worst)
        });
        target(what, at_most, worst)
    };
    let flows = |what: &str, at_most, figure: fn(&Fairness) -> f64| {
        let rows = figures.fairness.iter();
        target(what, at_most, rows.map(|row| (&*row.client, figure(row))))
    };
    vec![
        // The next slot, or the one after it if the floor is due.
        classes(
            "priority: sent of a batch while an interactive request waits",
            1.0,
            &[priority::BACKLOG, priority::WINDOW],
            |row| row.goes_before as f64,
        ),
        classes(
            "priority: requests by which a batch is behind its eighth",
            1.0,
            &priority::ALL,
            |row| row.behind_floor,
        ),
        classes(
            "priority: share of slots left unused",
            0.0,
            &priority::ALL,
            |row| 1.0 - row.used,
        ),
        flows(
            "fairness: ahead of another tenant, of what L16 allows",
            1.0,
            |row| row.of_bound,
        ),
        flows(
            "fairness, weights 1 to 4: ahead of another tenant, of what L16 allows",
            1.0,
            |row| row.of_bound_by_weight,
        ),
        flows("fairness: share of slots left unused", 0.0, |row| {
            1.0 - row.used
        }),
    ]
}

fn target<'a>(what: &str, at_most: f64, figures: impl Iterator<Item = (&'a str, f64)>) -> Target {
    let (mut ours, mut best) = (None, None::<BestPeer>);
    for (name, figure) in figures {
        if name == OURS {
            ours = Some(figure);
        } else if name == NOBODY || name.starts_with(OURS) {
            // Sends everything at once, and so is no limiter that could be the best; or is ours in another way.
        } else if best.as_ref().is_none_or(|best| figure < best.figure) {
            let name = name.to_owned();
            best = Some(BestPeer { figure, name });
        }
    }
    // Whoever is left out of a comparison has missed its point.
    let ours = ours.unwrap_or(f64::MAX);
    Target {
        what: what.to_owned(),
        at_most: super::figures::rounded(at_most),
        ours,
        best_peer: best,
        met: ours <= at_most,
    }
}

fn refused(table: &Judged, name: &str, at_most: usize) -> Target {
    target(
        &format!("{name}: refused of {}", table.requests),
        at_most as f64,
        table
            .rows
            .iter()
            .map(|row| (&*row.client, row.refused.max as f64)),
    )
}

/// Among those who get everything through.
fn sent_again(
    what: &str,
    at_most: f64,
    table: &SentAgain,
    figure: fn(&SentAgainRow) -> f64,
) -> Target {
    let complete = table
        .rows
        .iter()
        .filter(|row| row.succeeded.min == table.requests);
    target(
        what,
        at_most,
        complete.map(|row| (&*row.client, figure(row))),
    )
}

fn lost(what: &str, at_most: f64, tables: &[&SentAgain]) -> Target {
    target(
        what,
        at_most,
        tables[0].rows.iter().map(|row| {
            let lost = tables.iter().map(|table| {
                let row = table.rows.iter().find(|other| other.client == row.client);
                table.requests - row.map_or(0, |row| row.succeeded.min)
            });
            (&*row.client, lost.sum::<usize>() as f64)
        }),
    )
}

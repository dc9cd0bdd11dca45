//! The API, in a process of its own: it says on standard output where it is, what it accepts, and at the end of its
//! input what it saw.

use std::{fmt, str::FromStr};

use http::request::Parts;
use tokio::io::AsyncReadExt;
use tower_throttle::{
    BoxError,
    mock::{self, Judge, Limit, Pool, Work},
};

use super::{
    loads::{self, Load},
    stamp::{self, Stamp, Tag},
};

/// The header that says which request it is.
pub(crate) const TAG: &str = "x-tag";

/// What it saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) accepted: usize,
    pub(crate) refused_by_rate: usize,
    pub(crate) refused_by_concurrency: usize,
    pub(crate) worst: usize,
    pub(crate) most_at_work: usize,
}

pub(crate) async fn run(load: Load) -> Result<(), BoxError> {
    let mut judge = Judge::builder().cost_of(|head, _| {
        let cost = tag(head).map_or(1, |tag| tag.cost);
        vec![("credits", cost)]
    });
    for (leaf, index) in load.leaves.iter().zip(0..) {
        let name = loads::template(index);
        let work = if load.work.is_empty() {
            Work::fixed(load.work.start)
        } else {
            Work::uniform(load.work.clone())
        };
        judge = judge.route(&name, leaf.limit(), work);
        judge = judge.accepted(&name, |received| {
            if let Some(tag) = tag(received.head()) {
                let (went, ended) = (stamp::now(), None);
                println!("{}", Stamp { tag, went, ended });
            }
            None
        });
        if let Some(n) = load.overall {
            let overall = Limit::rps(n as usize);
            judge = judge.pool_by(&name, move |_| Some(Pool::new("overall", overall.clone())));
        }
    }
    let judge = judge.build();
    let listener = mock::bind()?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(judge.clone().serve(listener));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let report = judge.report();
    let endpoints = || report.endpoints();
    let seen = Seen {
        accepted: report.accepted(),
        refused_by_rate: report.refused_by_rate() + report.refused_by_units(),
        refused_by_concurrency: report.refused_by_concurrency(),
        worst: endpoints().map(|one| one.worst_window).max().unwrap_or(0),
        most_at_work: endpoints().map(|one| one.most_in_flight).max().unwrap_or(0),
    };
    println!("{seen}");
    Ok(())
}

fn tag(head: &Parts) -> Option<Tag> {
    head.headers.get(TAG)?.to_str().ok()?.parse().ok()
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted, {} refused by rate and {} by concurrency; at most {} arrived within a period and {} were at work",
            self.accepted,
            self.refused_by_rate,
            self.refused_by_concurrency,
            self.worst,
            self.most_at_work,
        )
    }
}

impl FromStr for Seen {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers = text.split([' ', ';']).filter_map(|word| word.parse().ok());
        let numbers: Vec<usize> = numbers.collect();
        let [
            accepted,
            refused_by_rate,
            refused_by_concurrency,
            worst,
            most_at_work,
        ] = numbers[..]
        else {
            return Err(());
        };
        Ok(Self {
            accepted,
            refused_by_rate,
            refused_by_concurrency,
            worst,
            most_at_work,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_as_it_is_written() {
        let seen = Seen {
            accepted: 1,
            refused_by_rate: 2,
            refused_by_concurrency: 3,
            worst: 4,
            most_at_work: 5,
        };
        assert_eq!(seen.to_string().parse(), Ok(seen));
        assert!("1 2 3 4 5 6".parse::<Seen>().is_err());
    }
}

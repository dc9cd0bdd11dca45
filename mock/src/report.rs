//! The score card: what the client did, and how the judge answered it.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use super::{
    limit::Limit,
    unit_report::UnitReport,
    violation::{Breach, Violation},
};

/// What the judge has seen, up to the moment at which [`Judge::report`](super::Judge::report) was called.
///
/// `Display` prints it as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(crate) endpoints: Vec<EndpointReport>,
    pub(crate) pools: Vec<EndpointReport>,
    pub(crate) unmatched: usize,
}

/// What the judge has seen on one endpoint, or in one pool.
///
/// A request that comes under a pool counts in both, with the same verdict, whichever of the two limits
/// it was refused by.
///
/// Every number is there as a field and as a method of the same name, for where a function is wanted:
/// `report.endpoints().map(EndpointReport::accepted).sum()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointReport {
    /// The endpoint's template, as it was given to the builder, or the pool's name.
    pub endpoint: String,
    /// What it allows now.
    pub limit: Limit,
    /// Requests that were accepted.
    pub accepted: usize,
    /// Accepted requests that had to wait for a slot: see
    /// [`JudgeBuilder::queue`](super::JudgeBuilder::queue).
    pub queued: usize,
    /// Requests that were refused because a window of requests was full, and the concurrency was not.
    pub refused_by_rate: usize,
    /// Requests that were refused because a window of another unit had no room for them, and the
    /// concurrency was not full: of which unit, says [`EndpointReport::unit`].
    pub refused_by_units: usize,
    /// Requests that were refused because too many were in flight, whether or not a window was full too.
    pub refused_by_concurrency: usize,
    /// Requests that the endpoint's check turned down. They are not judged, and so neither accepted
    /// nor refused, and part of no window.
    pub invalid: usize,
    /// Requests that a [`Fault`](super::Fault) struck, whether or not they had been accepted. Pools do not
    /// know of those that had not.
    pub faulted: usize,
    /// The largest number of requests that *arrived*, accepted or not, in any half-open interval
    /// of the limit's first window's length (without a window: of one second). A client that keeps to
    /// a window of n has at most n here.
    pub worst_window: usize,
    /// What was seen of the limit's windows of units other than requests, in their order.
    pub units: Vec<UnitReport>,
    /// How often an answer left more in a window of units counted at the end than it allows, those of the
    /// request's pool included: see [`UnitReport::exceeded`], and [`UnitReport::worst_window`] for how much.
    pub exceeded: usize,
    /// The largest number of requests that the client had open here at once: each from its arrival
    /// until its answer's body had ended, if accepted, or until the head was handed out, if not.
    /// A client that keeps to n at once has at most n here.
    pub most_in_flight: usize,
    /// Requests that arrived before the time that the endpoint's latest `Retry-After` named, sent after
    /// that answer was handed out (nobody can keep to what they have not been told yet).
    pub early: usize,
    /// How long the slowest refusal took, from the arrival of its request until it was handed out, or its
    /// client had gone away.
    pub slowest_refusal: Duration,
    /// Requests in flight at the moment of the report: accepted, and their answers have not ended.
    pub in_flight: usize,
    /// Requests waiting for a slot at the moment of the report.
    pub waiting: usize,
    /// The first breaches of the rules, in order of time; at most 16 of each kind.
    pub violations: Vec<Violation>,
    /// The first requests, in order of arrival: as many as
    /// [`JudgeBuilder::kept_records`](super::JudgeBuilder::kept_records) says.
    pub records: Vec<Record>,
    /// Requests that a fault kept from being judged.
    pub(crate) not_judged: usize,
}

/// One request, as the judge saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// When it arrived, after the start (or the last [`Judge::reset`](super::Judge::reset)).
    pub at: Duration,
    /// What was said to it.
    pub verdict: Verdict,
}

/// What the judge says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It was within all limits.
    Accepted,
    /// A window of requests was full.
    RefusedByRate,
    /// A window of another unit had no room for it.
    RefusedByUnits {
        /// The unit's name.
        unit: &'static str,
    },
    /// Too many requests were in flight.
    RefusedByConcurrency,
    /// The endpoint's check turned it down before the limits were asked.
    Invalid,
    /// A fault struck it before the limits were asked.
    Faulted,
}

macro_rules! accessors {
    ($($name:ident)+) => {$(
        #[doc = concat!("The field of the same name: see [`EndpointReport::", stringify!($name), "`](#structfield.", stringify!($name), ").")]
        pub fn $name(&self) -> usize {
            self.$name
        }
    )+};
}

impl EndpointReport {
    pub(crate) fn new(endpoint: &str, limit: Limit) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            units: limit.unit_windows().iter().map(UnitReport::new).collect(),
            limit,
            accepted: 0,
            queued: 0,
            refused_by_rate: 0,
            refused_by_units: 0,
            refused_by_concurrency: 0,
            invalid: 0,
            faulted: 0,
            worst_window: 0,
            exceeded: 0,
            most_in_flight: 0,
            early: 0,
            slowest_refusal: Duration::ZERO,
            in_flight: 0,
            waiting: 0,
            violations: Vec::new(),
            records: Vec::new(),
            not_judged: 0,
        }
    }

    accessors!(accepted queued refused_by_rate refused_by_units refused_by_concurrency invalid faulted worst_window exceeded most_in_flight early in_flight waiting);

    /// Requests that were refused, by whichever limit.
    pub fn refused(&self) -> usize {
        self.refused_by_rate + self.refused_by_units + self.refused_by_concurrency
    }

    /// What was seen of the first window of this unit.
    ///
    /// # Panics
    ///
    /// If the limit has no such window.
    #[track_caller]
    pub fn unit(&self, name: &str) -> &UnitReport {
        let found = self.units.iter().find(|seen| seen.unit == name);
        found.unwrap_or_else(|| {
            let (endpoint, limit) = (&self.endpoint, &self.limit);
            panic!("{endpoint} has no window of {name:?}: its limit is {limit}")
        })
    }

    /// All requests that arrived: accepted, refused, invalid, or kept from being judged by a fault.
    pub fn requests(&self) -> usize {
        self.accepted + self.refused() + self.invalid + self.not_judged
    }

    /// Appends a line for each kind of breach.
    fn complain(&self, complaints: &mut String) {
        type Kind = (usize, &'static str, fn(&Breach) -> bool);
        let kinds: [Kind; 5] = [
            (self.refused_by_rate, "refused by rate", |breach| {
                matches!(breach, Breach::Rate { .. })
            }),
            (self.refused_by_units, "refused by units", |breach| {
                matches!(breach, Breach::Units { .. })
            }),
            (self.exceeded, "over the limit at the end", |breach| {
                matches!(breach, Breach::Exceeded { .. })
            }),
            (
                self.refused_by_concurrency,
                "refused by concurrency",
                |breach| matches!(breach, Breach::Concurrency { .. }),
            ),
            (self.early, "early", |breach| {
                matches!(breach, Breach::Early { .. })
            }),
        ];
        for (count, what, is_kind) in kinds {
            let mut violations = self.violations.iter();
            let Some(first) = violations.find(|violation| is_kind(&violation.breach)) else {
                continue;
            };
            let endpoint = &self.endpoint;
            let (noun, which) = match count {
                1 => ("request", ""),
                _ => ("requests", "the first "),
            };
            let _ = write!(
                complaints,
                "\n{endpoint}: {count} {noun} {what}, {which}{first}"
            );
        }
        self.complain_of_units(complaints);
    }

    /// Appends a line for each window of units that held more than it allows.
    fn complain_of_units(&self, complaints: &mut String) {
        for seen in self.units.iter().filter(|seen| seen.excess() > 0) {
            let UnitReport {
                unit,
                limit,
                period,
                worst_window,
                ..
            } = seen;
            let _ = write!(
                complaints,
                "\n{}: {worst_window} {unit} in the worst window of {period:?}, {} more than the {limit} \
                 that it allows",
                self.endpoint,
                seen.excess()
            );
        }
    }
}

impl Report {
    /// The endpoints, in the order in which they were given to the builder.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointReport> {
        self.endpoints.iter()
    }

    /// What was seen on the endpoint with this template.
    ///
    /// # Panics
    ///
    /// If there is no such endpoint. The template has to be written as it was for the builder.
    #[track_caller]
    pub fn endpoint(&self, template: &str) -> &EndpointReport {
        let mut endpoints = self.endpoints();
        let found = endpoints.find(|endpoint| endpoint.endpoint == template);
        found.unwrap_or_else(|| {
            let known: Vec<_> = self.endpoints().map(|known| &known.endpoint).collect();
            panic!("the judge has no endpoint {template:?}: it has {known:?}")
        })
    }

    /// The pools, in the order in which they came into being: see
    /// [`JudgeBuilder::pool_by`](super::JudgeBuilder::pool_by).
    pub fn pools(&self) -> impl Iterator<Item = &EndpointReport> {
        self.pools.iter()
    }

    /// What was seen in the pool with this name.
    ///
    /// # Panics
    ///
    /// If no request has come to such a pool, and no limit was set for it.
    #[track_caller]
    pub fn pool(&self, name: &str) -> &EndpointReport {
        let found = self.pools().find(|pool| pool.endpoint == name);
        found.unwrap_or_else(|| {
            let known: Vec<_> = self.pools().map(|known| &known.endpoint).collect();
            panic!("the judge has no pool {name:?}: it has {known:?}")
        })
    }

    /// Requests that were accepted, over all endpoints.
    pub fn accepted(&self) -> usize {
        self.endpoints().map(EndpointReport::accepted).sum()
    }

    /// Requests that were refused, by whichever limit, over all endpoints.
    pub fn refused(&self) -> usize {
        self.endpoints().map(EndpointReport::refused).sum()
    }

    /// Requests that were refused by a window of requests, over all endpoints.
    pub fn refused_by_rate(&self) -> usize {
        self.endpoints().map(EndpointReport::refused_by_rate).sum()
    }

    /// Requests that were refused by a window of units other than requests, over all endpoints.
    pub fn refused_by_units(&self) -> usize {
        self.endpoints().map(EndpointReport::refused_by_units).sum()
    }

    /// Requests that were refused for being too many at once, over all endpoints.
    pub fn refused_by_concurrency(&self) -> usize {
        let refused = EndpointReport::refused_by_concurrency;
        self.endpoints().map(refused).sum()
    }

    /// Requests that came before the time that a `Retry-After` had named, over all endpoints.
    pub fn early(&self) -> usize {
        self.endpoints().map(EndpointReport::early).sum()
    }

    /// Requests that a fault struck, over all endpoints.
    pub fn faulted(&self) -> usize {
        self.endpoints().map(EndpointReport::faulted).sum()
    }

    /// Requests whose path or method no endpoint has; they were answered with 404 or 405.
    pub fn unmatched(&self) -> usize {
        self.unmatched
    }

    /// All requests that arrived, unmatched ones included.
    pub fn requests(&self) -> usize {
        let matched: usize = self.endpoints().map(EndpointReport::requests).sum();
        matched + self.unmatched
    }

    /// Checks that the client kept to every limit and every `Retry-After`.
    ///
    /// What a pool refused is told at the endpoint that it was sent to, with the pool's name.
    ///
    /// # Panics
    ///
    /// If any request was refused or early, or if a window of units that are counted at the end ever held
    /// more than it allows. The message says what the client did, and when, for
    /// example: ``POST /tts: 3 requests refused by rate, the first 1.204 s after the start: request 6
    /// in a window of 1s that allows 5, 0.096 s too soon``.
    #[track_caller]
    pub fn assert_compliant(&self) {
        let mut complaints = String::new();
        for endpoint in self.endpoints() {
            endpoint.complain(&mut complaints);
        }
        if !complaints.is_empty() {
            for pool in self.pools() {
                pool.complain_of_units(&mut complaints);
            }
        }
        assert!(
            complaints.is_empty(),
            "the client broke the rules:{complaints}"
        );
    }
}

/// A table with a row for each endpoint and each pool that a request has come to (or all of them, if none
/// has), and columns for queued and faulted requests, and those refused by units, if there were any. Below
/// it, a line for each window of units.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Column = (&'static str, bool, fn(&EndpointReport) -> usize);
        let all = || self.endpoints().chain(self.pools());
        let columns: [Column; 9] = [
            ("accepted", true, EndpointReport::accepted),
            (
                "queued",
                all().any(|seen| seen.queued > 0),
                EndpointReport::queued,
            ),
            ("refused by rate", true, EndpointReport::refused_by_rate),
            (
                "by units",
                all().any(|seen| seen.refused_by_units > 0),
                EndpointReport::refused_by_units,
            ),
            (
                "by concurrency",
                true,
                EndpointReport::refused_by_concurrency,
            ),
            ("early", true, EndpointReport::early),
            (
                "faulted",
                all().any(|seen| seen.faulted > 0),
                EndpointReport::faulted,
            ),
            ("worst window", true, EndpointReport::worst_window),
            ("most in flight", true, EndpointReport::most_in_flight),
        ];
        let columns = columns.iter().filter(|(_, shown, _)| *shown);
        let row = |name: String, seen: &EndpointReport| {
            let figures = columns.clone().map(|(.., figure)| figure(seen).to_string());
            [name, seen.limit.to_string()]
                .into_iter()
                .chain(figures)
                .collect()
        };
        let header = columns.clone().map(|(header, ..)| (*header).to_owned());
        let header = ["endpoint", "limit"]
            .map(str::to_owned)
            .into_iter()
            .chain(header);
        let mut rows: Vec<Vec<_>> = vec![header.collect()];
        let used = |seen: &&EndpointReport| seen.requests() > 0 || seen.most_in_flight > 0;
        let unused = !all().any(|seen| used(&seen));
        let endpoints = self.endpoints().filter(|seen| unused || used(seen));
        rows.extend(endpoints.map(|seen| row(seen.endpoint.clone(), seen)));
        let pools = self.pools().filter(|seen| unused || used(seen));
        rows.extend(pools.map(|seen| row(format!("pool {}", seen.endpoint), seen)));
        let widths: Vec<_> = (0..rows[0].len())
            .map(|column| {
                let cells = rows.iter().map(|row| row[column].chars().count());
                cells.max().unwrap_or(0)
            })
            .collect();
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                f.write_char('\n')?;
            }
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    1 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
        }
        for seen in self.endpoints().filter(|seen| unused || used(seen)) {
            for unit in &seen.units {
                write!(f, "\n{}: {unit}", seen.endpoint)?;
            }
        }
        for seen in self.pools().filter(|seen| unused || used(seen)) {
            for unit in &seen.units {
                write!(f, "\npool {}: {unit}", seen.endpoint)?;
            }
        }
        if self.unmatched > 0 {
            write!(f, "\nunmatched: {}", self.unmatched)?;
        }
        Ok(())
    }
}

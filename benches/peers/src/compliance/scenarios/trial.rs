//! A client before a judge: who is refused, and how long it takes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_throttle::mock::{EndpointReport, Judge, JudgeBuilder};

use crate::compliance::{
    contestants::{Client, Contestant, Limits, Server, boxed},
    figures::{SentAgainRow, Spread, seconds},
    load::{PATH, at_start, send_and_watch, virtually},
};

/// What one run came to.
pub struct Trial {
    pub score: EndpointReport,
    pub requests: usize,
    pub succeeded: usize,
    /// When the answers of those had been read.
    pub ends: Vec<Duration>,
    /// Until the last answer had been read.
    pub took: Duration,
    /// When requests were sent, in this order; with jitter, they arrive later.
    pub sent: Vec<Duration>,
}

impl Trial {
    /// Sends so many requests at once through a contestant.
    pub fn run(
        contestant: &dyn Contestant,
        limits: Limits,
        judge: JudgeBuilder,
        requests: usize,
        seed: u64,
    ) -> Self {
        virtually(seed, async {
            let client = |server| contestant.client(limits, server);
            Self::watch(client, judge.seed(seed), requests, |_, _| {}).await
        })
    }

    /// The same with any client, and a look at the judge after each request that is done.
    pub async fn watch(
        client: impl FnOnce(Server) -> Client,
        judge: JudgeBuilder,
        requests: usize,
        mut done: impl FnMut(usize, &Judge),
    ) -> Self {
        let start = Instant::now();
        let judge = judge.build();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let stamps = Arc::clone(&sent);
        let stamped = judge.clone().map_request(move |request| {
            let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
            stamps.push(start.elapsed());
            request
        });
        let client = client(boxed(stamped));
        let mut count = 0;
        let watch = |_: &_| {
            count += 1;
            done(count, &judge);
        };
        let outcomes = send_and_watch(&client, &at_start(requests), watch).await;
        let succeeded = outcomes.iter().filter(|o| o.status == Some(StatusCode::OK));
        let ends: Vec<_> = succeeded.map(|outcome| outcome.ended).collect();
        let last = outcomes.iter().map(|outcome| outcome.ended).max();
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            score: judge.report().endpoint(PATH).clone(),
            requests,
            succeeded: ends.len(),
            ends,
            took: last.unwrap_or_default(),
            sent,
        }
    }

    /// Requests that were given up.
    pub fn lost(&self) -> usize {
        self.requests - self.succeeded
    }

    pub fn last_sent(&self) -> Duration {
        self.sent.last().copied().unwrap_or_default()
    }

    /// A row about runs that differ in their draws.
    pub fn row(client: String, trials: &[Self]) -> SentAgainRow {
        SentAgainRow {
            client,
            sent: Spread::of(trials.iter().map(|trial| trial.sent.len())),
            refused: Spread::of(trials.iter().map(|trial| trial.score.refused())),
            succeeded: Spread::of(trials.iter().map(|trial| trial.succeeded)),
            early: Spread::of(trials.iter().map(|trial| trial.score.early)),
            took: Spread::of(trials.iter().map(|trial| seconds(trial.took))),
        }
    }
}

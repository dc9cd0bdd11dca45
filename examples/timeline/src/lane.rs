//! From what was heard of requests to the parts of their bars.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::record::{Pause, Records, Step};

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// In order of time, without those that lasted no time.
    pub parts: Vec<Part>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Lane {
    /// How often it was sent.
    pub fn attempts(&self) -> usize {
        let begins = |part: &&Part| {
            let kind = part.kind;
            matches!(
                kind,
                PartKind::Sent | PartKind::Throttled | PartKind::Failed
            )
        };
        self.parts.iter().filter(begins).count()
    }
}

/// A part of a request's time. Times count from the arrival of the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What happened.
    pub kind: PartKind,
    /// When it began.
    pub from: Duration,
    /// When it ended.
    pub until: Duration,
}

/// What happened to a request for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// It waited for its turn.
    Queued,
    /// It waited, and nothing was admitted.
    Paused,
    /// It had failed, and was not yet queued again.
    BackingOff,
    /// It was sent, and its answer had not begun.
    Sent,
    /// Its answer had begun, and had not ended.
    Answered,
    /// It was sent, and the server throttled it.
    Throttled,
    /// It was sent, and got an error, or a status of 500 and above.
    Failed,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Answered(StatusCode),
    /// The limiting layer refused it.
    Refused,
    /// With an error.
    Failed,
    /// Its caller dropped it.
    Dropped,
    /// Not at all, so far.
    Open,
}

/// The lanes of what was recorded until now.
pub(crate) fn lanes(records: &Records, now: Instant) -> Vec<Lane> {
    let first = records.requests.iter().flatten().map(|(at, _)| *at).min();
    let Some(start) = first else {
        return Vec::new();
    };
    let own = |steps: &Vec<(Instant, Step)>| {
        steps.iter().find_map(|(_, step)| match step {
            Step::Dispatched { endpoint, .. } => Some(endpoint.clone()),
            _ => None,
        })
    };
    let endpoints: Vec<_> = records.requests.iter().filter_map(own).collect();
    let lane = |steps: &Vec<(Instant, Step)>| {
        let mut drawing = Drawing::new(start, steps[0].0);
        for (at, step) in steps {
            let holds = |pause: &&Pause, endpoint: &String| {
                // A pause of no request's own endpoint is one of a wider scope.
                pause.endpoint == *endpoint || !endpoints.contains(&pause.endpoint)
            };
            let pauses = match step {
                Step::Dispatched {
                    endpoint,
                    was_paused: true,
                } => {
                    let pauses = records.pauses.iter();
                    pauses.filter(|pause| holds(pause, endpoint)).collect()
                }
                _ => Vec::new(),
            };
            drawing.step(*at, step, &pauses);
        }
        drawing.finish(now)
    };
    records.requests.iter().map(lane).collect()
}

/// A lane that is being made.
struct Drawing {
    start: Instant,
    state: State,
    parts: Vec<Part>,
    outcome: Outcome,
}

/// What a request is doing, and since when.
#[derive(Clone, Copy)]
enum State {
    Waiting(Instant),
    BackingOff(Instant),
    Sent(Attempt),
    Over,
}

/// A request that was sent.
#[derive(Clone, Copy)]
struct Attempt {
    from: Instant,
    head: Option<(Instant, Option<StatusCode>)>,
    throttled: bool,
    ended: Option<Instant>,
}

impl Drawing {
    fn new(start: Instant, came: Instant) -> Self {
        Self {
            start,
            state: State::Waiting(came),
            parts: Vec::new(),
            outcome: Outcome::Open,
        }
    }

    fn step(&mut self, at: Instant, step: &Step, pauses: &[&Pause]) {
        match step {
            Step::Came => {}
            Step::Queued => {
                if let State::BackingOff(since) = self.state {
                    self.part(PartKind::BackingOff, since, at);
                    self.state = State::Waiting(at);
                }
            }
            Step::Dispatched { .. } => {
                self.close(at, pauses);
                self.state = State::Sent(Attempt {
                    from: at,
                    head: None,
                    throttled: false,
                    ended: None,
                });
            }
            Step::Answered(status) => self.attempt(|attempt| attempt.head = Some((at, *status))),
            Step::Throttled => self.attempt(|attempt| attempt.throttled = true),
            Step::Ended => self.attempt(|attempt| attempt.ended = Some(at)),
            Step::Retried => {
                self.close(at, &[]);
                self.state = State::BackingOff(at);
            }
            Step::Refused => self.end(at, Outcome::Refused),
            Step::Failed => self.end(at, Outcome::Failed),
            Step::Dropped => self.end(at, Outcome::Dropped),
        }
    }

    fn attempt(&mut self, change: impl FnOnce(&mut Attempt)) {
        if let State::Sent(attempt) = &mut self.state {
            change(attempt);
        }
    }

    fn end(&mut self, at: Instant, outcome: Outcome) {
        self.close(at, &[]);
        self.state = State::Over;
        self.outcome = outcome;
    }

    /// What is not over ends now, for the picture.
    fn finish(mut self, now: Instant) -> Lane {
        if let State::Sent(Attempt {
            head: Some((_, Some(status))),
            ended: Some(_),
            ..
        }) = self.state
        {
            self.outcome = Outcome::Answered(status);
        }
        self.close(now, &[]);
        Lane {
            parts: self.parts,
            outcome: self.outcome,
        }
    }

    /// Draws what a request was doing until then.
    fn close(&mut self, at: Instant, pauses: &[&Pause]) {
        match self.state {
            State::Waiting(since) => self.wait(since, at, pauses),
            State::BackingOff(since) => self.part(PartKind::BackingOff, since, at),
            State::Sent(attempt) => self.sent(attempt, at),
            State::Over => {}
        }
    }

    fn sent(&mut self, attempt: Attempt, at: Instant) {
        let ended = attempt.ended.unwrap_or(at);
        let Some((head, status)) = attempt.head else {
            return self.part(PartKind::Sent, attempt.from, ended);
        };
        if attempt.throttled {
            return self.part(PartKind::Throttled, attempt.from, head);
        }
        if status.is_none_or(|status| status.is_server_error()) {
            return self.part(PartKind::Failed, attempt.from, head);
        }
        self.part(PartKind::Sent, attempt.from, head);
        self.part(PartKind::Answered, head, ended);
    }

    /// Pauses may overlap.
    fn wait(&mut self, from: Instant, until: Instant, pauses: &[&Pause]) {
        let mut reached = from;
        for pause in pauses {
            let (begins, ends) = (pause.from.max(reached), pause.until.min(until));
            if begins < ends {
                self.part(PartKind::Queued, reached, begins);
                self.part(PartKind::Paused, begins, ends);
                reached = ends;
            }
        }
        self.part(PartKind::Queued, reached, until);
    }

    fn part(&mut self, kind: PartKind, from: Instant, until: Instant) {
        let [from, until] = [from, until].map(|at| at.saturating_duration_since(self.start));
        if from < until {
            self.parts.push(Part { kind, from, until });
        }
    }
}

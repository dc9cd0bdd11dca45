//! The API behind the judge: who is let in, and what all endpoints need.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::time::Instant;

use super::{
    account::Keys,
    audio::Audio,
    problem::Problem,
    response::Responder,
    schema::Errors,
    state::{State, Workspace},
};
use crate::Received;

/// Everything but the limits.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) keys: Keys,
    pub(super) state: State,
    pub(super) responder: Responder,
    pub(super) audio: Audio,
    /// Whether a voice that nobody knows can speak.
    pub(super) any_voice: bool,
    pub(super) concurrency_headers: bool,
    /// One moment on both clocks: times follow tokio's even where that is paused.
    pub(super) epoch: (Instant, SystemTime),
}

/// Why a request is not let through.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is not well formed.
    Schema(Errors),
    Problem(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Errors> for Stop {
    fn from(errors: Errors) -> Self {
        Self::Schema(errors)
    }
}

impl Api {
    pub(super) fn now_unix(&self) -> u64 {
        let (instant, wall) = self.epoch;
        let now = wall + instant.elapsed();
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or(Duration::ZERO).as_secs()
    }

    /// The name of the workspace that a request belongs to, if its key has the permission.
    pub(super) fn enter(&self, request: &Received<'_>, permission: &str) -> Result<&str, Problem> {
        self.keys.workspace(&request.head().headers, permission)
    }

    /// Does something in the workspace that a request belongs to. Nothing else may be locked.
    pub(super) fn within<T>(
        &self,
        request: &Received<'_>,
        permission: &str,
        act: impl FnOnce(&mut Workspace) -> Result<T, Problem>,
    ) -> Result<T, Stop> {
        let name = self.enter(request, permission)?;
        Ok(act(self.state.lock().get(name))?)
    }

    pub(super) fn stopped(&self, request: &HeaderMap, stop: Stop) -> Response<Bytes> {
        match stop {
            Stop::Schema(errors) => self.responder.finish(request, errors.answer()),
            Stop::Problem(problem) => self.responder.problem(request, &problem),
        }
    }
}

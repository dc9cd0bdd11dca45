//! What speech is limited to: which pool a request belongs to, and how much that allows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{TTS, api::Api, speech};
use crate::{Judge, Limit, Pool, Received};
use tower_throttle_plans::elevenlabs::Plan;

/// Where the limit of speech comes from.
#[derive(Debug)]
pub(super) struct Limits {
    basis: Basis,
    /// What it was changed to while the mock runs, if every workspace has a limit of its own.
    changed: Mutex<Option<Limit>>,
}

#[derive(Debug)]
enum Basis {
    /// From the endpoint [`TTS`], with which the others share it.
    Endpoint,
    /// From here, for each workspace.
    Workspace(Limit),
    /// From each workspace's plan, for each family of models.
    Plan,
}

impl Limits {
    /// `planned` is whether workspaces have plans, `by_workspace` whether there can be several.
    pub(super) fn new(explicit: Option<Limit>, planned: bool, by_workspace: bool) -> Self {
        let basis = match explicit {
            Some(limit) if by_workspace => Basis::Workspace(limit),
            None if planned => Basis::Plan,
            _ => Basis::Endpoint,
        };
        Self {
            basis,
            changed: Mutex::new(None),
        }
    }

    /// What the endpoint itself allows, if the limit of speech is this.
    pub(super) fn of_endpoint(&self, limit: Limit) -> Limit {
        match self.basis {
            Basis::Endpoint => limit,
            Basis::Workspace(_) | Basis::Plan => Limit::unlimited(),
        }
    }

    /// The pool that a request for speech belongs to. The request has been checked.
    pub(super) fn pool(&self, api: &Api, request: &Received<'_>) -> Option<Pool> {
        let workspace = speech::workspace(api, request)?;
        Some(match &self.basis {
            Basis::Endpoint => Pool::new(workspace, request.judge().limit(TTS)),
            Basis::Workspace(limit) => {
                Pool::new(workspace, self.changed().unwrap_or_else(|| limit.clone()))
            }
            Basis::Plan => {
                let plan: Plan = api.state.lock().get(workspace).plan?;
                let family = speech::family(request);
                let planned = || Limit::concurrent(plan.concurrency(family));
                // A pool of its own for each, whatever the limit: it knows who is in flight.
                let name = format!("{workspace}/{family}");
                Pool::new(name, self.changed().unwrap_or_else(planned))
            }
        })
    }

    /// Changes the limit of speech: of each workspace, and of each family if those have their own.
    pub(super) fn set(&self, judge: &Judge, limit: Limit) {
        match self.basis {
            Basis::Endpoint => judge.set_limit(TTS, limit),
            Basis::Workspace(_) | Basis::Plan => *self.lock() = Some(limit),
        }
    }

    pub(super) fn reset(&self) {
        *self.lock() = None;
    }

    fn changed(&self) -> Option<Limit> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Limit>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What the mock remembers, by workspace.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    account::{DEFAULT_WORKSPACE, Keys},
    history::History,
    problem::Problem,
    tier::Tier,
    voice::{Category, Voice},
};
use tower_throttle_plans::elevenlabs::Plan;

/// The default workspace's own settings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    pub(super) plan: Option<Plan>,
    pub(super) credits: Option<u64>,
}

/// All workspaces, as they were in the beginning and as they are now.
#[derive(Debug)]
pub(super) struct State {
    initial: HashMap<String, Workspace>,
    now: Mutex<HashMap<String, Workspace>>,
}

/// What belongs together: limits, credits, voices, history.
#[derive(Clone, Debug)]
pub(super) struct Workspace {
    pub(super) name: String,
    pub(super) plan: Option<Plan>,
    pub(super) suspicious: bool,
    /// How many credits there were in the beginning, and how many of them have been used.
    pub(super) quota: u64,
    pub(super) used: u64,
    /// In the order in which they came.
    pub(super) voices: Vec<Voice>,
    /// How many voices were ever added.
    pub(super) additions: usize,
    /// The ids of voices that were there once.
    removed: Vec<String>,
    pub(super) history: History,
}

impl State {
    pub(super) fn new(keys: &Keys, own: Own, voices: &[Voice]) -> Self {
        let workspace = |name: &str, plan| Workspace {
            name: name.to_owned(),
            plan,
            suspicious: false,
            quota: Tier::of(plan).credits,
            used: 0,
            voices: voices.to_vec(),
            additions: 0,
            removed: Vec::new(),
            history: History::default(),
        };
        let mut initial = HashMap::new();
        if keys.accounts().next().is_none() {
            let mut default = workspace(DEFAULT_WORKSPACE, own.plan);
            default.quota = own.credits.unwrap_or(default.quota);
            initial.insert(default.name.clone(), default);
        }
        let mut told = Vec::new();
        for (name, account) in keys.accounts() {
            let known = initial
                .entry(name.to_owned())
                .or_insert_with(|| workspace(name, Some(account.plan)));
            known.suspicious |= account.suspicious;
            if let Some(credits) = account.credits.filter(|_| !told.contains(&name)) {
                known.quota = credits;
                told.push(name);
            }
        }
        Self {
            now: Mutex::new(initial.clone()),
            initial,
        }
    }

    /// Nothing is awaited, and nothing else is locked, while this is.
    pub(super) fn lock(&self) -> Workspaces<'_> {
        Workspaces(self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes everything as it was in the beginning.
    pub(super) fn reset(&self) {
        self.lock().0.clone_from(&self.initial);
    }
}

pub(super) struct Workspaces<'a>(MutexGuard<'a, HashMap<String, Workspace>>);

impl Workspaces<'_> {
    /// The workspace with this name, which comes from [`Keys::workspace`].
    pub(super) fn get(&mut self, name: &str) -> &mut Workspace {
        let found = self.0.get_mut(name);
        found.expect("every key's workspace is there from the beginning")
    }
}

impl Workspace {
    pub(super) fn tier(&self) -> Tier {
        Tier::of(self.plan)
    }

    /// Whether there are so many credits left.
    pub(super) fn afford(&self, credits: u64) -> Result<(), Problem> {
        let remaining = self.quota.saturating_sub(self.used);
        if credits > remaining {
            return Err(Problem::quota_exceeded(self.quota, remaining, credits));
        }
        Ok(())
    }

    pub(super) fn voice(&self, id: &str) -> Option<&Voice> {
        self.voices.iter().find(|voice| voice.id == id)
    }

    /// Whether there was such a voice, and is not any more.
    pub(super) fn had_voice(&self, id: &str) -> bool {
        self.removed.iter().any(|removed| removed == id)
    }

    /// How many voices are not the API's own.
    pub(super) fn own_voices(&self) -> usize {
        let own = |voice: &&Voice| voice.category != Category::Premade;
        self.voices.iter().filter(own).count()
    }

    /// Adds a voice, in place of one that has the same id.
    pub(super) fn add_voice(&mut self, voice: Voice) {
        self.additions += 1;
        self.removed.retain(|removed| *removed != voice.id);
        match self.voices.iter_mut().find(|known| known.id == voice.id) {
            Some(known) => *known = voice,
            None => self.voices.push(voice),
        }
    }

    /// Whether there was such a voice.
    pub(super) fn remove_voice(&mut self, id: &str) -> bool {
        let found = self.voices.iter().position(|voice| voice.id == id);
        let Some(at) = found else {
            return false;
        };
        self.removed.push(self.voices.remove(at).id);
        true
    }
}

//! What is going on: a line in the log for each thing that happens, and a snapshot of all of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;

use crate::{
    limits::{Activity, Limits},
    split::Kind,
};

/// All scripts that are running. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    scripts: Arc<Mutex<Scripts>>,
}

#[derive(Debug, Default)]
struct Scripts {
    begun: u64,
    completed: u64,
    running: BTreeMap<u64, Arc<Progress>>,
}

/// How far one script has got.
#[derive(Debug)]
pub struct Progress {
    script: u64,
    total: usize,
    dialogue: usize,
    completed: AtomicUsize,
}

/// A script that is running, until this is dropped.
#[derive(Debug)]
pub struct Running {
    monitor: Monitor,
    progress: Arc<Progress>,
}

/// A segment of a script that is about to be voiced: an extension of its request, so that what sends it
/// can say when it really starts.
#[derive(Clone, Debug)]
pub struct Voicing {
    /// Its script.
    pub progress: Arc<Progress>,
    /// Which one it is, counted from 1.
    pub number: usize,
    /// Who speaks it.
    pub kind: Kind,
}

/// `completed/total (percent)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Segments that are voiced.
    pub completed: usize,
    /// Segments that there are.
    pub total: usize,
}

/// All scripts, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// How many have been accepted since the start.
    pub begun: u64,
    /// How many of them are complete.
    pub completed: u64,
    /// Those that are running, the oldest first.
    pub running: Vec<ScriptStatus>,
}

/// One script, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScriptStatus {
    /// Which one it is, counted from 1.
    pub script: u64,
    /// How many segments it has.
    pub segments: usize,
    /// How many of them are dialogue.
    pub dialogue: usize,
    /// How many are voiced.
    pub completed: usize,
    /// How many per cent that is, rounded down.
    pub percent: usize,
}

impl Monitor {
    /// A script begins. It ends when what this returns is dropped.
    pub fn begin(&self, segments: usize, dialogue: usize) -> Running {
        let mut scripts = self.scripts();
        scripts.begun += 1;
        let progress = Arc::new(Progress {
            script: scripts.begun,
            total: segments,
            dialogue,
            completed: AtomicUsize::new(0),
        });
        scripts
            .running
            .insert(progress.script, Arc::clone(&progress));
        drop(scripts);
        Running {
            monitor: self.clone(),
            progress,
        }
    }

    /// All scripts, as they are now.
    pub fn overview(&self) -> Overview {
        let scripts = self.scripts();
        Overview {
            begun: scripts.begun,
            completed: scripts.completed,
            running: scripts.running.values().map(|p| p.status()).collect(),
        }
    }

    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// How far it has got.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let done = self.progress.done();
        let mut scripts = self.monitor.scripts();
        scripts.running.remove(&self.progress.script);
        scripts.completed += u64::from(done.is_all());
        drop(scripts);
        if !done.is_all() {
            tracing::warn!("script {}: ended early, at {done}", self.progress.script);
        }
    }
}

impl Progress {
    /// Which script it is, counted from 1.
    pub fn script(&self) -> u64 {
        self.script
    }

    /// How much is done.
    pub fn done(&self) -> Done {
        Done {
            completed: self.completed.load(Ordering::Relaxed),
            total: self.total,
        }
    }

    /// One more segment is voiced. To be called once for each; no two calls return the same.
    pub fn completed_one(&self) -> Done {
        let done = Done {
            completed: self.completed.fetch_add(1, Ordering::Relaxed) + 1,
            total: self.total,
        };
        tracing::info!("script {}: {done}", self.script);
        done
    }

    fn status(&self) -> ScriptStatus {
        let done = self.done();
        ScriptStatus {
            script: self.script,
            segments: self.total,
            dialogue: self.dialogue,
            completed: done.completed,
            percent: done.percent(),
        }
    }
}

impl Voicing {
    /// Its request is being sent now.
    pub fn starts(&self, attempt: u32, limits: &Limits) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let Activity {
            limit, generating, ..
        } = limits.activity(self.kind);
        let script = self.progress.script;
        let (number, total, kind) = (self.number, self.progress.total, self.kind.name());
        let again = if attempt > 1 { " again" } else { "" };
        let limit = limit.map_or("no limit".to_owned(), |limit| format!("at most {limit}"));
        tracing::info!(
            "script {script}: segment {number} of {total} ({kind}) starts{again}: {generating} generating, {limit}"
        );
    }
}

impl Done {
    /// How many per cent are done, rounded down.
    pub fn percent(self) -> usize {
        // A script has a segment at least, and far fewer than would overflow.
        self.completed * 100 / self.total.max(1)
    }

    /// Whether nothing is left to do.
    pub fn is_all(self) -> bool {
        self.completed == self.total
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, total } = self;
        write!(f, "{completed}/{total} ({}%)", self.percent())
    }
}

//! A store in the process's own memory.

use std::sync::{Arc, Mutex, OnceLock};

use tokio::time::Instant;

use crate::{
    decide::{State, decide},
    protocol::{Ask, Micros, Timing},
    store::{Asking, Mailbox, Mailboxes, Store, StoreError, lock},
};

/// Several layers of one process share their limits; nothing is written anywhere. Clones share.
///
/// It reads tokio's clock, so it works under paused time.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    mailboxes: Mailboxes,
    start: OnceLock<Instant>,
    timing: Timing,
    hash_keys: [u64; 2],
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            mailboxes: Mailboxes::default(),
            start: OnceLock::new(),
            timing: Timing::LASTING,
            hash_keys: [fastrand::u64(..), fastrand::u64(..)],
        }
    }
}

impl MemoryStore {
    /// An empty store with [`Timing::LASTING`].
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose reservations last an instant: under paused time, where everyone is punctual, limits are used
    /// up as without a store.
    pub fn at_once() -> Self {
        Self::with_timing(Timing {
            reservation: 0,
            ahead: 0,
            ..Timing::LASTING
        })
    }

    /// The same with another timing.
    pub fn with_timing(timing: Timing) -> Self {
        Self(Arc::new(Shared {
            timing,
            ..Shared::default()
        }))
    }

    fn now(&self) -> Micros {
        // Zero stands for never.
        1_000_000 + micros(self.0.start.get_or_init(Instant::now).elapsed())
    }
}

impl Store for MemoryStore {
    fn timing(&self) -> Timing {
        self.0.timing
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        Box::pin(async move {
            let now = self.now();
            let decided = decide(&mut lock(&self.0.state), ask, now, "memory", &self.0.timing);
            let answer = decided.map_err(|error| StoreError::refused(error.to_string()))?;
            self.0.mailboxes.deliver(&answer);
            Ok(answer)
        })
    }

    fn hash_keys(&self) -> [u64; 2] {
        self.0.hash_keys
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.0.mailboxes.open(member)
    }
}

pub(crate) fn micros(duration: std::time::Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

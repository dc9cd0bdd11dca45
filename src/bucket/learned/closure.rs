//! A server has named a time beyond the longest pause: its bucket is *closed* until then.

use super::news::{Refusal, Sent};
use crate::bucket::tick::{Span, Tick};

/// Nobody waits for it. Now and then a newcomer goes out as a *probe*, and if it is accepted the bucket opens:
/// one header cannot switch a client off for a day.
#[derive(Clone, Copy, Debug)]
pub(in crate::bucket) struct Closure {
    /// The server's own time.
    until: Tick,
    /// Answers to later requests than this tell that the bucket is open.
    serial: u64,
    /// When the next newcomer may try.
    probe_at: Tick,
    /// The number of the newcomer that tried last.
    probe: Option<u64>,
}

impl Closure {
    /// What a refusal closes, if it does.
    pub(in crate::bucket) fn of(refusal: &Refusal, sent: &Sent<'_>) -> Option<Self> {
        let delay = refusal.retry_after.filter(|_| refusal.closes())?;
        Some(Self {
            until: sent.now.after(delay),
            serial: sent.newest,
            probe_at: sent.now.after(refusal.ceiling),
            probe: None,
        })
    }

    pub(in crate::bucket) fn until(&self) -> Tick {
        self.until
    }

    pub(in crate::bucket) fn is_ended_by(&self, serial: u64) -> bool {
        serial > self.serial
    }

    pub(in crate::bucket) fn wants_probe(&self, now: Tick) -> bool {
        self.probe_at <= now
    }

    pub(in crate::bucket) fn is_probe(&self, serial: u64) -> bool {
        self.probe == Some(serial)
    }

    /// A newcomer goes out. The next one may `interval` later.
    pub(in crate::bucket) fn send_probe(&mut self, serial: u64, interval: Span, now: Tick) {
        self.probe = Some(serial);
        self.probe_at = now.after(interval);
    }

    /// A request has not gone out after all. If it was the probe, the next newcomer may try.
    pub(in crate::bucket) fn withdraw(&mut self, serial: u64) {
        if self.is_probe(serial) {
            self.probe = None;
            self.probe_at = Tick::NONE;
        }
    }
}

impl Refusal {
    /// Whether the server asks to be left alone for longer than any pause: a retry would come too early.
    pub(crate) fn closes(&self) -> bool {
        self.retry_after.is_some_and(|delay| delay > self.ceiling)
    }
}

//! How many segments are voiced at once: one limit for the whole process, and when it is lower.
//!
//! Dialogue and narration are two endpoints of one `ThrottleLayer`, the second without a limit. Requests
//! say which one they are under with an extension, so that the limit holds under any base URL.
//!
//! The limit of dialogue is the setting. It is one lower (and at least 1) for as long as there is a reason
//! to be careful: a script with many segments of dialogue is running, or the network has just failed.
//! Each reason is a guard or a time, and all are counted together, so that it makes no difference in which
//! order they come and go.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Extensions;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tower_throttle::{
    EndpointName, Endpoints, Handle, Quota, RetryLayer, ThrottleLayer, elevenlabs::MaxConcurrent,
};

use crate::split::Kind;

/// A script with more segments of dialogue than this lowers the limit while it runs.
pub const FEW_DIALOGUE_SEGMENTS: usize = 3;

/// For how long after the last failure the network counts as bad.
pub const BAD_NETWORK_FOR: Duration = Duration::from_secs(30);

/// For how long after its first failure a request is tried again. Longer than by default, as one segment
/// that fails costs a whole script, and three attempts may take four minutes each.
const RETRY_FOR: Duration = Duration::from_secs(15 * 60);

/// The layer that all providers share, and its limits.
///
/// Clones share their state.
#[derive(Clone)]
pub struct Limits {
    layer: ThrottleLayer,
    shared: Arc<Shared>,
}

struct Shared {
    handle: Handle,
    setting: MaxConcurrent,
    reasons: Mutex<Reasons>,
}

/// Why the limit is lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reasons {
    /// How many scripts with many segments of dialogue are running.
    scripts: usize,
    bad_network_until: Option<Instant>,
}

/// What one kind of segments is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// How many may be voiced at once; all of them, if there is no number.
    pub limit: Option<usize>,
    /// How many are being voiced.
    pub generating: usize,
    /// How many wait for their turn.
    pub waiting: usize,
    /// How many requests have been sent, retries included.
    pub sent: u64,
    /// How many of them were answered with "too many".
    pub throttled: u64,
}

impl Limits {
    /// At most so many segments of dialogue at once, and any number of narration.
    pub fn new(setting: MaxConcurrent) -> Self {
        let endpoints = Endpoints::new()
            .named(Kind::Dialogue.name(), Quota::concurrent(setting.get()))
            .named(Kind::Narration.name(), Quota::unlimited());
        let retry = RetryLayer::new().max_total(RETRY_FOR);
        let layer = ThrottleLayer::new(endpoints).retry(retry);
        let shared = Arc::new(Shared {
            handle: layer.handle(),
            setting,
            reasons: Mutex::default(),
        });
        Self { layer, shared }
    }

    /// What enforces the limits: all services that it makes share them.
    pub fn layer(&self) -> &ThrottleLayer {
        &self.layer
    }

    /// Puts a request under the limit of its kind.
    pub fn apply(kind: Kind, extensions: &mut Extensions) {
        extensions.insert(EndpointName::new(kind.name()));
    }

    /// The limit of dialogue while there is no reason to be careful.
    pub fn setting(&self) -> MaxConcurrent {
        self.shared.setting
    }

    /// The limit of dialogue while there is one.
    pub fn careful(&self) -> usize {
        self.shared.careful()
    }

    /// What this kind of segments is doing now.
    pub fn activity(&self, kind: Kind) -> Activity {
        let snapshot = self.shared.handle.snapshot();
        let bucket = snapshot
            .bucket(kind.name())
            .expect("both kinds are endpoints of the layer");
        Activity {
            limit: bucket.concurrency(),
            generating: bucket.in_flight(),
            waiting: bucket.waiting(),
            sent: bucket.admitted(),
            throttled: bucket.throttled(),
        }
    }

    /// A script with so many segments of dialogue begins. It has ended when what this returns is dropped.
    pub fn script(&self, dialogue: usize) -> Option<Careful> {
        (dialogue > FEW_DIALOGUE_SEGMENTS).then(|| {
            let why = format!("a script with {dialogue} segments of dialogue is running");
            self.shared.change(&why, |reasons| reasons.scripts += 1);
            Careful {
                shared: Arc::clone(&self.shared),
            }
        })
    }

    /// The network has failed: is careful for a while, beginning now.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn network_failed(&self) {
        let until = Instant::now() + BAD_NETWORK_FOR;
        let before = self.shared.change("the network has failed", |reasons| {
            reasons.bad_network_until = Some(until);
        });
        // Whoever waits already sees the new time.
        if before.bad_network_until.is_none() {
            tokio::spawn(Arc::clone(&self.shared).until_the_network_is_good(until));
        }
    }
}

/// A reason to be careful, until it is dropped.
#[must_use = "the reason is gone when this is dropped"]
pub struct Careful {
    shared: Arc<Shared>,
}

impl Drop for Careful {
    fn drop(&mut self) {
        let why = "the script with many segments of dialogue has ended";
        self.shared.change(why, |reasons| reasons.scripts -= 1);
    }
}

impl Shared {
    fn careful(&self) -> usize {
        self.setting.get().saturating_sub(1).max(1)
    }

    fn limit(&self, reasons: Reasons) -> usize {
        let is_calm = reasons == Reasons::default();
        if is_calm {
            self.setting.get()
        } else {
            self.careful()
        }
    }

    fn reasons(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the reasons as they were before.
    fn change(&self, why: &str, change: impl FnOnce(&mut Reasons)) -> Reasons {
        // The quota is set under the lock, or of two changes the earlier one could be the last to arrive.
        let mut reasons = self.reasons();
        let before = *reasons;
        change(&mut reasons);
        let limit = self.limit(*reasons);
        if limit != self.limit(before) {
            self.handle
                .set_quota(Kind::Dialogue.name(), Quota::concurrent(limit))
                .expect("dialogue is an endpoint of the layer");
            tracing::info!("{why}: at most {limit} segments of dialogue at once from now on");
        }
        before
    }

    async fn until_the_network_is_good(self: Arc<Self>, mut until: Instant) {
        loop {
            sleep_until(until).await;
            let mut later = None;
            self.change("the network has not failed any more", |reasons| {
                later = reasons.bad_network_until.filter(|end| *end > until);
                reasons.bad_network_until = later;
            });
            match later {
                Some(later) => until = later,
                None => return,
            }
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("setting", &self.setting())
            .field("reasons", &*self.shared.reasons())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Careful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Careful").finish_non_exhaustive()
    }
}

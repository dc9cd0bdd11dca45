use std::{fmt, sync::Arc, time::Duration};

use super::{Engine, Snapshot};
use crate::{endpoints::UnknownEndpoint, quota::Quota};

/// Watches and changes a limiting layer while it runs.
///
/// Obtained from `layer.handle()`. It acts on every service that the layer has made or will make, and
/// can be used from anywhere, a runtime or not.
///
/// Endpoints are named by their template (in any spelling of the same shape), by the name of a group
/// or of a named endpoint, or as `overall`.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::{ConcurrencyLayer, Endpoints, Quota};
///
/// let endpoints = Endpoints::new().route("POST /v1/text-to-speech/{voice_id}", Quota::concurrent(3));
/// let layer = ConcurrencyLayer::new(endpoints);
/// let handle = layer.handle();
///
/// handle.set_quota("POST /v1/text-to-speech/{id}", Quota::concurrent(2))?;
/// handle.pause("overall", Duration::from_secs(1))?;
/// assert!(handle.resume("POST /v1/speech-to-text").is_err());
///
/// let snapshot = handle.snapshot();
/// let bucket = snapshot.bucket("POST /v1/text-to-speech/{voice_id}").unwrap();
/// assert_eq!((bucket.concurrency(), bucket.in_flight()), (Some(2), 0));
/// # Ok::<_, tower_throttle::UnknownEndpoint>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
}

impl Handle {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// What each bucket is doing at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.engine)
    }

    /// Gives an endpoint another quota, in place of all of the one it has.
    ///
    /// Takes effect at once, for all partitions and for keys not seen yet, and wakes those it admits.
    /// What has been dispatched already still counts: a window that is longer than the one before
    /// takes the requests it cannot see for as recent as they can have been. A bucket that had no
    /// window at all knows what it has sent in the last minute, as far as its layer learns
    /// [rates](crate::Learning::rate) or from [quota headers](crate::Learning::quota_headers).
    ///
    /// # Errors
    ///
    /// If no endpoint, group or name is called `endpoint`.
    pub fn set_quota(&self, endpoint: &str, quota: Quota) -> Result<(), UnknownEndpoint> {
        let spec = self.engine.routes.lookup(endpoint)?;
        self.engine.with(|state, now, wakes| {
            state.tree.set_quota(spec, quota);
            state.reconsider(spec, now, wakes);
        });
        Ok(())
    }

    /// Admits nothing more to an endpoint for `time`, from now on.
    ///
    /// Applies to all partitions, and to keys not seen yet. A pause that ends later already stays as
    /// it is. What is in flight is not touched; who has been admitted and not sent returns to the queue.
    ///
    /// # Errors
    ///
    /// If no endpoint, group or name is called `endpoint`.
    pub fn pause(&self, endpoint: &str, time: Duration) -> Result<(), UnknownEndpoint> {
        let spec = self.engine.routes.lookup(endpoint)?;
        self.engine.with(|state, now, wakes| {
            state.tree.pause(spec, now.after(time.into()));
            state.reconsider(spec, now, wakes);
        });
        Ok(())
    }

    /// Ends the pauses of an endpoint, in all partitions, whoever asked for them.
    ///
    /// # Errors
    ///
    /// If no endpoint, group or name is called `endpoint`.
    pub fn resume(&self, endpoint: &str) -> Result<(), UnknownEndpoint> {
        let spec = self.engine.routes.lookup(endpoint)?;
        self.engine.with(|state, now, wakes| {
            state.tree.resume(spec);
            state.reconsider(spec, now, wakes);
        });
        Ok(())
    }

    /// Forgets all keys that are idle, and gives their memory back.
    ///
    /// Later calls do so anyway, a few keys each. A key is idle when nobody waits for it, nothing is
    /// in flight, it is not paused, no window still counts a request of it, and no
    /// [lesson](crate::Learning) about it is kept.
    pub fn sweep(&self) {
        self.engine.with(|state, now, _| state.tree.sweep(now));
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.engine).finish()
    }
}

use std::{fmt, sync::Arc, time::Duration};

use super::{core::Core, shared::Shared, snapshot::Snapshot};
use crate::{bucket::Learning, endpoints::UnknownEndpoint, quota::Quota};

/// Watches and changes a limiting layer while it runs, and admits what is no request of its services.
///
/// Obtained from `layer.handle()`. It acts on every service that the layer has made or will make, and
/// can be used from anywhere, a runtime or not.
///
/// Endpoints are named by their template (in any spelling of the same shape), by the name of a group
/// or of a named endpoint, or as `overall`.
///
/// [`admit`](Self::admit) and [`admit_again`](Self::admit_again) wait as a request does, and [`drain`](Self::drain) waits
/// for what is under way. No other method waits: each change is made when its method returns, and there is nothing to
/// cancel.
///
/// # Panics
///
/// Only an [`Observer`](crate::Observer) can make a method panic: its panic goes on to the caller. A change has
/// been made then, but [`sweep`](Self::sweep) stops where it is.
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
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: &Shared) -> Self {
        shared.engine.begin();
        Self {
            shared: Arc::new(shared.clone()),
        }
    }

    pub(super) fn engine(&self) -> &super::engine::Engine {
        &self.shared.engine
    }

    /// What each bucket is doing.
    ///
    /// The buckets are looked at a few at a time, and requests go on meanwhile: each
    /// [`BucketSnapshot`](crate::BucketSnapshot) is of one instant, and two of them may be of different ones.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.shared.engine)
    }

    /// Gives an endpoint another quota, in place of all of the one it has.
    ///
    /// Takes effect at once for all requests that come from now on, in all partitions and for keys not seen yet;
    /// partitions of a [tier](crate::Endpoints::tier) that has a quota of its own for the endpoint keep that one. The
    /// requests that wait are admitted or refused by it a few at a time, and others go on meanwhile. One that states to
    /// cost more than the new quota ever allows is refused ([`NeverFits`](crate::RefusedReason::NeverFits)). What has
    /// been dispatched already still counts: a window that is longer than the one before takes the requests it cannot
    /// see for as recent as they can have been. A bucket that had no window at all knows what it has sent in the last
    /// minute, as far as its layer learns [rates](crate::Learning::rate) or from [quota
    /// headers](crate::Learning::quota_headers).
    ///
    /// # Errors
    ///
    /// If no endpoint, group or name is called `endpoint`.
    pub fn set_quota(&self, endpoint: &str, quota: Quota) -> Result<(), UnknownEndpoint> {
        let spec = self.shared.engine.lookup(endpoint)?;
        let _attached = self.shared.engine.attach_all();
        self.shared.engine.with(|core, now, fx| {
            core.set_quota(spec, quota);
            core.run(now, fx);
        });
        Ok(())
    }

    /// Gives an endpoint another quota for the partitions of a [tier](crate::Endpoints::tier), as
    /// [`set_quota`](Self::set_quota) does for those of none.
    ///
    /// # Errors
    ///
    /// If no tier is called so, or if it has no quota of its own for `endpoint`.
    pub fn set_tier_quota(
        &self,
        tier: &str,
        endpoint: &str,
        quota: Quota,
    ) -> Result<(), UnknownEndpoint> {
        let present = self.shared.engine.present();
        let spec = present.routes.lookup_in_tier(tier, endpoint)?;
        self.shared.engine.with(|core, now, fx| {
            core.set_quota(spec, quota);
            core.run(now, fx);
        });
        Ok(())
    }

    /// Admits nothing more to an endpoint for `time`, from now on.
    ///
    /// Applies to all partitions, and to keys not seen yet. A pause that ends later already stays as
    /// it is. What is in flight is not touched. A request that has been admitted and not sent returns to the
    /// queue; one that waits is refused if its turn comes too late now.
    ///
    /// # Errors
    ///
    /// If no endpoint, group or name is called `endpoint`.
    pub fn pause(&self, endpoint: &str, time: Duration) -> Result<(), UnknownEndpoint> {
        let spec = self.shared.engine.lookup(endpoint)?;
        let _attached = self.shared.engine.attach_all();
        self.shared.engine.with(|core, now, fx| {
            core.pause(spec, time, now, fx);
            core.run(now, fx);
        });
        Ok(())
    }

    /// Ends the pauses of an endpoint, in all partitions: those by [`pause`](Self::pause), and those that answers
    /// asked for.
    ///
    /// # Errors
    ///
    /// If no endpoint, group or name is called `endpoint`.
    pub fn resume(&self, endpoint: &str) -> Result<(), UnknownEndpoint> {
        let spec = self.shared.engine.lookup(endpoint)?;
        let _attached = self.shared.engine.attach_all();
        self.shared.engine.with(|core, now, fx| {
            core.resume(spec, now, fx);
            core.run(now, fx);
        });
        Ok(())
    }

    /// Lets all new keys of an endpoint share one bucket once `n` keys are in use, as `max_keys` of the layer does.
    /// Keys that are in use keep their buckets.
    pub fn set_max_keys(&self, n: usize) {
        self.shared.engine.set_max_keys(n);
    }

    /// Learns these lessons from answers from now on, and no others, as `learn` of the layer does. What
    /// was learned already stays until it is given back.
    pub fn set_learning(&self, learning: Learning) {
        self.shared.engine.set_learning(learning);
    }

    /// Lets no answer pause a bucket for longer than `time` from now on, and up to 250 ms of jitter, as `max_pause`
    /// of the layer does. Pauses that have begun stay as they are.
    pub fn set_max_pause(&self, time: Duration) {
        self.shared.engine.set_max_pause(time);
    }

    /// Forgets all keys that are idle, and gives their memory back.
    ///
    /// Later calls do so anyway, a few keys each. This goes over all keys, a few at a time, and requests go on
    /// meanwhile. A key is idle when no request waits for it, nothing is in flight, it is not paused, no window
    /// still counts a request of it, and no [lesson](crate::Learning) about it is kept. Without a window, a key
    /// is kept for a minute after its last request: see [`Learning::rate`](crate::Learning::rate).
    pub fn sweep(&self) {
        // A node keeps its parent, so parents go one round after their children.
        loop {
            let mut forgotten = 0;
            self.shared
                .engine
                .with(|core, _, _| core.tree.begin_sweep());
            loop {
                self.shared.engine.give_way();
                let step = |core: &mut Core, now, fx: &mut _| core.tree.sweep_step(now, fx);
                let (of_step, goes_on) = self.shared.engine.with(step);
                forgotten += of_step;
                if !goes_on {
                    break;
                }
            }
            if forgotten == 0 {
                break;
            }
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.shared.engine).finish()
    }
}

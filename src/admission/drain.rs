//! Closing a layer, and waiting until nothing of it is under way (law L20 of `CONTRIBUTING.md`).
//!
//! 1. What is under way is counted under the lock: a request from its admission until its response future or its body
//!    is gone, a waiter from its first poll until its future has heard of its end, and a retry of the layer's own
//!    between its attempts.
//! 2. Where no permits are enforced, the end of a request takes no lock: it is counted in an atomic of its endpoint,
//!    and added up when somebody asks. In a closed layer whoever counts adds it up as well, so the last one knows.
//! 3. The hold of the lock in which the last of them goes tells those who [drain](Handle::drain).

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::atomic::Ordering,
};

use super::{
    closing::TELLS,
    core::{Core, NodeId},
    engine::Engine,
    handle::Handle,
};

/// How many endpoints one hold of the lock adds up.
const STEP: usize = 64;

impl Engine {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.closed.load(Ordering::SeqCst)
    }

    /// A request has neither a response future nor a body any more, and holds nothing else.
    #[inline]
    pub(super) fn left(&self, leaf: NodeId) {
        // One step: it is added up by who sets the bit, or sees the bit.
        let before = self
            .closing
            .ended_at(leaf.index())
            .fetch_add(1, Ordering::AcqRel);
        if before >= TELLS {
            self.left_closed(leaf);
        }
    }

    #[cold]
    fn left_closed(&self, leaf: NodeId) {
        self.with(|core, _, _| self.add_up(core, leaf.index()));
    }

    fn add_up(&self, core: &mut Core, index: usize) {
        let none = if self.is_closed() { TELLS } else { 0 };
        let ended = self.closing.ended_at(index).swap(none, Ordering::AcqRel);
        #[expect(clippy::cast_possible_truncation, reason = "what counts wraps")]
        let ended = ended as u32;
        if index < self.closing.ended.len() {
            core.tree.end(NodeId::new(index), ended);
        } else {
            core.tree.end_others(ended);
        }
    }

    /// Adds up what has ended beside the lock.
    pub(super) fn add_up_all(&self) {
        let mut from = 0;
        // And those of keys.
        let end = self.closing.ended.len() + 1;
        while from < end {
            let to = end.min(from + STEP);
            let mut locked = self.lock();
            for index in from..to {
                self.add_up(&mut locked.core, index);
            }
            from = to;
        }
    }

    fn close(&self) {
        self.attach_all().for_ever();
        let close = || {
            self.with(|core, now, fx| {
                core.close(now, fx);
                // Under the lock, so that nobody who is told of it finds the queue open.
                self.closing.closed.store(true, Ordering::SeqCst);
            });
        };
        let told = catch_unwind(AssertUnwindSafe(close));
        self.closing.begins.notify_waiters();
        self.add_up_all();
        if let Err(panic) = told {
            // An observer's.
            resume_unwind(panic);
        }
    }
}

impl Handle {
    /// Closes the layer for good: nothing is dispatched any more.
    ///
    /// Everyone who waits is refused, retries too, and so is everyone who comes later: with [`Closed`], from the
    /// response future. A request that has been admitted and not been dispatched is refused as well. When this returns
    /// they have been told, and are answered when they are polled.
    ///
    /// What has been dispatched goes on, and its answer goes up as it comes. It is not retried, neither by this layer
    /// nor by a [`RetryLayer`](crate::RetryLayer) above. A retry of a [`ThrottleLayer`](crate::ThrottleLayer) that
    /// backs off comes back at once, and is refused; that of a `RetryLayer` above is refused when it comes back.
    ///
    /// All services of the layer are closed, those made later too. There is no way back. To close again does nothing.
    ///
    /// [`Closed`]: crate::RefusedReason::Closed
    pub fn close(&self) {
        self.engine().close();
    }

    /// [Closes](Self::close) the layer, and waits until nothing of it is under way.
    ///
    /// That is when none of its response futures that was polled or dispatched is alive, nor any response body that has
    /// not ended or failed. A future that was refused counts until it is polled or dropped: a task that never polls it
    /// again keeps this waiting, and so does a body that is kept and not read. Without tower
    /// ([`admit`](Self::admit)), a [`Permit`](crate::Permit) counts until it is dropped, and an
    /// [`Admission`](crate::Admission) until it has told its owner of the refusal, or is dropped.
    ///
    /// [`Handle::snapshot`] names what it waits for: [`BucketSnapshot::unfinished`](crate::BucketSnapshot::unfinished),
    /// [`unheard`](crate::BucketSnapshot::unheard) [`Snapshot::backing_off`](crate::Snapshot::backing_off) and
    /// [`other_bodies`](crate::Snapshot::other_bodies).
    ///
    /// It needs no runtime and no timer: what goes last wakes it. Any number of calls may wait at once. The work that
    /// an abandoned request may still cause at its server ([`Quota::grace`](crate::Quota::grace)) is not waited for.
    ///
    /// # Cancellation
    ///
    /// The layer is closed by the first poll. Dropping the future after that changes nothing: the layer stays closed,
    /// and can be drained again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_throttle::{BucketSnapshot, Endpoints, ThrottleLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let layer = ThrottleLayer::new(Endpoints::new());
    /// let handle = layer.handle();
    ///
    /// // On shutdown: what is under way has half a minute.
    /// let drained = tokio::time::timeout(Duration::from_secs(30), handle.drain()).await;
    /// if drained.is_err() {
    ///     // `overall` counts what its endpoints count, and so does a group.
    ///     let cut_off = |bucket: &&BucketSnapshot| {
    ///         bucket.name() != Endpoints::OVERALL && bucket.unfinished() > 0
    ///     };
    ///     for bucket in handle.snapshot().buckets().filter(cut_off) {
    ///         eprintln!("{}: {} cut off", bucket.name(), bucket.unfinished());
    ///     }
    /// }
    /// # assert!(drained.is_ok());
    /// # }
    /// ```
    pub async fn drain(&self) {
        self.close();
        let engine = self.engine();
        loop {
            let mut drained = pin!(engine.closing.drained.notified());
            // Before the look: who goes last meanwhile is heard of.
            drained.as_mut().enable();
            if engine.lock().core.is_drained() {
                return;
            }
            drained.await;
        }
    }
}

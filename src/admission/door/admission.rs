use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use tower::BoxError;

use super::{Asked, permit::Permit};
use crate::{
    admission::{
        acquire::{Acquire, Turn},
        shared::Shared,
    },
    request_head::RequestHead,
};

/// Work that may begin now: from [`Handle::admit`](crate::Handle::admit).
///
/// It has a place in each window and its permits, and becomes a [`Permit`] when the work begins. Begin soon: after
/// 10 ms others may take its places over. It then keeps its age, and goes before all that came later when it is
/// awaited again. A pause, or a new quota without room for it, calls it back in the same way.
///
/// Dropping it gives everything back, as if it had never been admitted.
///
/// ```
/// use tower_throttle::{Admission, BoxError, Permit};
///
/// async fn begin(mut admission: Admission) -> Result<Permit, BoxError> {
///     loop {
///         // Something that may take a while: a connection is opened, a file is read.
///         admission = match admission.dispatch() {
///             Ok(permit) => return Ok(permit),
///             Err(called_back) => called_back,
///         };
///         admission.admitted().await?;
///     }
/// }
/// ```
#[must_use = "dropping an admission gives its places back"]
pub struct Admission {
    acquire: Acquire,
    asked: Box<Asked>,
    /// It was refused when it was about to be dispatched, and nobody has been told yet.
    refused: Option<BoxError>,
}

impl Admission {
    /// Waits in the queue for the first time.
    pub(super) async fn enter(shared: &Arc<Shared>, asked: Box<Asked>) -> Result<Self, BoxError> {
        let acquire = shared.stand(&asked.head)?;
        let mut admission = Self {
            acquire,
            asked,
            refused: None,
        };
        admission.admitted().await?;
        Ok(admission)
    }

    /// Waits until it is admitted: again, after [`dispatch`](Self::dispatch) has handed it back. Ready at once if it
    /// still has its places.
    ///
    /// # Errors
    ///
    /// As from [`Handle::admit`](crate::Handle::admit). Then it is over: [`dispatch`](Self::dispatch) only hands it
    /// back.
    ///
    /// # Panics
    ///
    /// If it is awaited after an error, or if an [`Observer`](crate::Observer) panics.
    ///
    /// # Cancellation
    ///
    /// Dropping the future keeps the place in the queue, which the admission has until it is dropped itself. If its
    /// turn comes while nobody awaits it, it delays those behind it once, by at most 10 ms.
    pub async fn admitted(&mut self) -> Result<(), BoxError> {
        poll_fn(|cx| self.poll_admitted(cx)).await
    }

    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.refused.take() {
            Some(refused) => Poll::Ready(Err(refused)),
            None => self.acquire.poll(cx, &self.asked.head),
        }
    }

    /// Begins the work: from this instant on it counts in the windows.
    ///
    /// So send right after it. What happens in between is like the way to the server, which may take longer for
    /// one request than for another: [`Quota::margin`](crate::Quota::margin) is for that.
    ///
    /// # Errors
    ///
    /// The admission, if it does not have its places any more: a pause or a new quota has called it back, or it took
    /// more than 10 ms and another one has taken them over. Await [`admitted`](Self::admitted), and try again.
    ///
    /// # Panics
    ///
    /// If an [`Observer`](crate::Observer) panics. Then everything is given back, or the permit has ended.
    pub fn dispatch(mut self) -> Result<Permit, Self> {
        if self.acquire.is_done() {
            return Err(self);
        }
        match self.acquire.take() {
            Ok(Turn::Dispatch(dispatch)) => Ok(Permit::new(dispatch.done(), self.asked)),
            Ok(Turn::CalledBack | Turn::Lost) => Err(self),
            Err(refused) => {
                self.refused = Some(refused);
                Err(self)
            }
        }
    }

    /// [Dispatches](Self::dispatch) it, and waits once more where it has been called back: for those who have nothing
    /// to prepare.
    ///
    /// # Errors
    ///
    /// As from [`Handle::admit`](crate::Handle::admit).
    ///
    /// # Panics
    ///
    /// If an [`Observer`](crate::Observer) panics.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives everything back.
    pub async fn dispatched(mut self) -> Result<Permit, BoxError> {
        loop {
            self = match self.dispatch() {
                Ok(permit) => return Ok(permit),
                Err(called_back) => called_back,
            };
            self.admitted().await?;
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admission")
            .field(&RequestHead::from(&self.asked.head))
            .finish()
    }
}

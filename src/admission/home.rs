use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::futures::OwnedNotified;

use super::engine::Engine;

/// The layer to which a retry belongs, for what the retry has to know of it while it is not in the queue.
#[derive(Clone)]
pub(crate) struct Home(Arc<Engine>);

impl Home {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::clone(engine))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// A retry leaves the queue, and wants to hear when the layer is closed.
    pub(crate) fn leave(&self) -> Away {
        let begins = Box::pin(Arc::clone(&self.0.closing.begins).notified_owned());
        self.0.lock().core.away += 1;
        Away {
            home: self.clone(),
            begins,
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Home(..)")
    }
}

/// A retry that is not in the queue of its layer: it counts as under way.
pub(crate) struct Away {
    home: Home,
    begins: Pin<Box<OwnedNotified>>,
}

impl Away {
    /// Ready when the layer is closed.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.home.is_closed() {
            return Poll::Ready(());
        }
        // Made before that look, so it has heard of a layer that was closed since.
        self.begins.as_mut().poll(cx)
    }
}

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Away(..)")
    }
}

impl Drop for Away {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        self.home.0.with(|core, _, _| core.away -= 1);
    }
}

//! What a layer keeps of its [conversation](super::converse) with a store.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, atomic::AtomicBool},
    task::Waker,
};

use tower_throttle_store::{Mailbox, Store, StoreError, protocol::Answer};

pub(super) struct Conversation {
    pub(super) store: Arc<dyn Store>,
    pub(super) talk: Mutex<Talk>,
    /// There is something to do: the thread that is at it sees to it before it ends.
    pub(super) more: AtomicBool,
    pub(super) waker: Waker,
}

pub(super) struct Talk {
    pub(super) mailbox: Mailbox,
    pub(super) call: Option<Call>,
}

pub(super) type Call = Pin<Box<dyn Future<Output = Result<Answer, StoreError>> + Send>>;

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conversation").field(&self.store).finish()
    }
}

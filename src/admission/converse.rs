//! The layer's conversation with its store: one call at a time, and messages.
//!
//! It needs no task. The thread that makes a call necessary begins it, and the one that the answer wakes goes on: a
//! thread of the store's, or the caller itself where the store answers at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, TryLockError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tower_throttle_store::{Store, StoreError, member::Member, protocol::REQUESTS};

use super::{
    conversation::{Conversation, Talk},
    core::Fleet,
    engine::Engine,
};

/// What the store wakes.
struct Bell(Weak<Engine>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.0.upgrade() {
            engine.converse();
        }
    }
}

impl Engine {
    /// The store decides with the layer from now on; `false` if there is one already.
    pub(crate) fn join(self: &Arc<Self>, store: Arc<dyn Store>) -> bool {
        let units = vec![REQUESTS.to_owned()];
        let member = Member::new(Member::random_id(), units, store.timing());
        let (when_away, hash_keys) = (store.when_away(), store.hash_keys());
        let talk = Talk {
            mailbox: store.listen(member.id()),
            call: None,
        };
        let conversation = Conversation {
            store,
            talk: Mutex::new(talk),
            more: AtomicBool::new(false),
            waker: Waker::from(Arc::new(Bell(Arc::downgrade(self)))),
        };
        if self.conversation.set(conversation).is_err() {
            return false;
        }
        self.routes.set_hash_keys(hash_keys);
        self.attach_all().for_ever();
        let fleet = Fleet::new(member, when_away);
        self.lock().core.tree.join_fleet(fleet);
        true
    }

    /// Whether a store decides with the layer.
    #[inline]
    pub(super) fn is_joint(&self) -> bool {
        self.conversation.get().is_some()
    }

    /// Goes on with the conversation, unless another thread is at it, or this one further up: then that one does.
    pub(super) fn converse(&self) {
        let Some(conversation) = self.conversation.get() else {
            return;
        };
        conversation.more.store(true, Ordering::SeqCst);
        loop {
            let mut talk = match conversation.talk.try_lock() {
                Ok(talk) => talk,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if conversation.more.swap(false, Ordering::SeqCst) {
                // An observer's panic is not this caller's.
                let go_on = || self.go_on(conversation, &mut talk);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(go_on)) {
                    conversation.more.store(true, Ordering::SeqCst);
                    self.keep_panic(panic);
                }
            }
            drop(talk);
            // Who came in the meantime has left it to this thread.
            if !conversation.more.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// The layer has ended. What is not said yet is said, without waiting for an answer: otherwise permits would be held
    /// until its lease is over.
    pub(super) fn take_leave(&mut self) {
        let Some(conversation) = self.conversation.get() else {
            return;
        };
        let ask = {
            let mut locked = self.lock();
            let now = self.time(&mut locked.core);
            locked.core.last_ask(now)
        };
        let Some(ask) = ask else { return };
        let mut cx = Context::from_waker(Waker::noop());
        // A drop does not panic.
        let say = || drop(conversation.store.ask(&ask).as_mut().poll(&mut cx));
        drop(catch_unwind(AssertUnwindSafe(say)));
    }

    fn go_on(&self, conversation: &Conversation, talk: &mut Talk) {
        let mut cx = Context::from_waker(&conversation.waker);
        loop {
            while let Poll::Ready(message) = talk.mailbox.poll_next(&mut cx) {
                self.with(|core, now, fx| core.hear_message(message, now, fx));
            }
            if talk.call.is_none() {
                let ask = {
                    let mut locked = self.lock();
                    let now = self.time(&mut locked.core);
                    locked.core.next_ask(now)
                };
                let Some(ask) = ask else { return };
                let store = Arc::clone(&conversation.store);
                talk.call = Some(Box::pin(async move { store.ask(&ask).await }));
            }
            let Some(call) = &mut talk.call else { return };
            let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut cx)));
            let answer = match polled {
                Ok(Poll::Pending) => return,
                Ok(Poll::Ready(answer)) => answer,
                Err(panic) => {
                    self.keep_panic(panic);
                    Err(StoreError::away("the store's call panicked"))
                }
            };
            talk.call = None;
            match answer {
                Ok(answer) => self.with(|core, now, fx| core.hear(&answer, now, fx)),
                Err(error) => {
                    self.with(|core, now, fx| core.unanswered(error, now, fx));
                    // There is a next call also where no request waits.
                    self.join_timer();
                }
            }
        }
    }
}

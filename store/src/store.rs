//! What the engine asks: [`Store`], and the messages that come without being asked for.

use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::protocol::{Answer, Ask, News, Timing};

/// The future of [`Store::ask`].
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answer, StoreError>> + Send + 'a>>;

/// Where the counts of a fleet live.
///
/// A member (see [`Member`](crate::member::Member)) has one call under way at a time. If a call fails with an error
/// that [is worth trying again](StoreError::is_away), the member sends the same ask again. If it is refused, the member
/// sends it once more as it is: a call that was executed and failed afterwards is answered then. If it is refused again,
/// the member makes another one, which says all that was in it.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What members of this store are to be made with.
    fn timing(&self) -> Timing;

    /// Decides about one call. Dropping the future may leave the call executed: repeat it. A member that ends polls the
    /// future of its last call once, perhaps outside of any runtime, and drops it: the call should be made all the same.
    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a>;

    /// With which its members hash what is secret and names a scope: the same for all, and after a restart.
    fn hash_keys(&self) -> [u64; 2];

    /// Messages for a member, from now on until the mailbox is dropped. A message may be lost; a member that asks
    /// when it was told to loses time only.
    fn listen(&self, member: &str) -> Mailbox;

    /// What is to be done while the store does not answer, and after what time. `None`: it always answers.
    fn when_away(&self) -> Option<(WhenAway, Duration)> {
        None
    }
}

/// What becomes of requests while the store does not answer, or refuses all calls. Those that have a reservation go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenAway {
    /// They wait.
    Stop,
    /// They go as the process's own limits let them: the fleet together may send more than is allowed.
    Unlimited,
}

/// What a store tells a member without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The member's turn may have come: ask now.
    Ask,
    /// A pause, or a new epoch.
    News(News),
    /// Messages may have been lost: ask now.
    Lost,
}

/// A call that was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    away: bool,
    text: String,
}

impl StoreError {
    /// The store does not answer now, and may later.
    pub fn away(text: impl Into<String>) -> Self {
        Self {
            away: true,
            text: text.into(),
        }
    }

    /// The store will not answer such a call. Refused twice, it has done nothing.
    pub fn refused(text: impl Into<String>) -> Self {
        Self {
            away: false,
            text: text.into(),
        }
    }

    /// Whether the same call is worth another try.
    pub fn is_away(&self) -> bool {
        self.away
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StoreError {}

/// Messages for one member. It holds one of a kind at most, so it does not grow while nobody reads it.
#[derive(Debug)]
pub struct Mailbox(Arc<Slots>);

#[derive(Debug, Default)]
struct Slots(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Of who waits for the next one.
    waker: Option<Waker>,
}

impl Mailbox {
    /// Waits for the next message. Dropping the future loses none.
    pub async fn next(&mut self) -> Message {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next message. If there is none, the task of `cx` is woken when one comes.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Message> {
        // Foreign code runs without the lock.
        let waker = cx.waker().clone();
        let mut waiting = lock(&self.0.0);
        if !waiting.messages.is_empty() {
            return Poll::Ready(waiting.messages.remove(0));
        }
        let before = waiting.waker.replace(waker);
        drop(waiting);
        drop(before);
        Poll::Pending
    }

    /// The next message, if there is one.
    pub fn take(&mut self) -> Option<Message> {
        let mut waiting = lock(&self.0.0);
        (!waiting.messages.is_empty()).then(|| waiting.messages.remove(0))
    }
}

impl Slots {
    fn post(&self, message: Message) {
        let mut waiting = lock(&self.0);
        // A later pause of the same scope says all that the earlier one did; so does a later epoch.
        waiting.messages.retain(|old| !replaces(&message, old));
        waiting.messages.push(message);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn replaces(new: &Message, old: &Message) -> bool {
    match (new, old) {
        (Message::Ask, Message::Ask)
        | (Message::Lost, Message::Lost)
        | (Message::News(News::Epoch(_)), Message::News(News::Epoch(_))) => true,
        (
            Message::News(News::Pause { scope: new, .. }),
            Message::News(News::Pause { scope: old, .. }),
        ) => new == old,
        _ => false,
    }
}

/// The mailboxes of the members that listen here.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes(Mutex<HashMap<String, Weak<Slots>>>);

impl Mailboxes {
    pub(crate) fn open(&self, member: &str) -> Mailbox {
        let slots = Arc::<Slots>::default();
        let mut boxes = lock(&self.0);
        boxes.retain(|_, slots| slots.strong_count() > 0);
        boxes.insert(member.to_owned(), Arc::downgrade(&slots));
        Mailbox(slots)
    }

    pub(crate) fn post(&self, member: &str, message: Message) {
        let slots = lock(&self.0).get(member).and_then(Weak::upgrade);
        if let Some(slots) = slots {
            slots.post(message);
        }
    }

    pub(crate) fn post_all(&self, message: &Message) {
        let all: Vec<_> = lock(&self.0).values().filter_map(Weak::upgrade).collect();
        for slots in all {
            slots.post(message.clone());
        }
    }

    /// Delivers what an answer is to tell others.
    pub(crate) fn deliver(&self, answer: &Answer) {
        for member in &answer.wake {
            self.post(member, Message::Ask);
        }
        for news in &answer.news {
            self.post_all(&Message::News(news.clone()));
        }
    }
}

/// Nothing that panics runs under these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

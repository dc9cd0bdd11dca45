//! A store in Redis or Valkey, for a fleet.

mod connection;
mod errors;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use siphasher::sip::SipHasher13;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    memory::micros,
    protocol::{Answer, Ask, Timing},
    store::{Asking, Mailbox, Mailboxes, Store, StoreError, WhenAway, lock},
};

use self::connection::{Call, Job};

/// The fleets that messages are for, by the prefix of their channels.
type Fleets = Arc<Mutex<Vec<(String, Arc<Mailboxes>)>>>;

/// A fleet shares its limits through Redis 6.2 or later, or Valkey: one call of a script for each ask. Clones share
/// the connection.
///
/// It has a thread with a runtime of its own, so it outlives the runtimes of its users. The thread ends with
/// [`RedisStore::leave`], or with the last clone. While the server is away it connects again and again; what is
/// asked meanwhile fails with an error that [is worth another try](StoreError::is_away).
///
/// TLS is the `redis` crate's: with the feature `redis-rustls`, or with the crate's own features, `rediss://` works.
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    fleet: String,
    mailboxes: Arc<Mailboxes>,
    timing: Timing,
    when_away: (WhenAway, Duration),
    secret: String,
}

struct Link {
    jobs: mpsc::UnboundedSender<Job>,
    fleets: Fleets,
    /// Closed when the thread has ended.
    ended: watch::Receiver<()>,
}

impl RedisStore {
    /// Connects, and looks whether the server will do: its version, `maxmemory-policy`, and what the user may call.
    ///
    /// The URL is as in the `redis` crate: `redis://[user:password@]host[:port][/db]`, `rediss://`,
    /// `redis+unix:///path`. The fleet's name is `default`.
    ///
    /// # Errors
    /// The URL cannot be read; nobody answers there; wrong password; a version before 6.2; a policy that may evict keys; a
    /// command that the user may not call; or tokio's clock is paused, since the server's is not: use
    /// [`MemoryStore`](crate::MemoryStore) in tests.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        if is_paused() {
            return Err(StoreError::refused(
                "tokio's clock is paused, and the server's is not: use `MemoryStore` in tests under paused time",
            ));
        }
        let client = connection::client(url)?;
        let fleets = Fleets::default();
        let (jobs, inbox) = mpsc::unbounded_channel();
        let (ended_sender, ended) = watch::channel(());
        let (ready, is_ready) = oneshot::channel();
        let for_thread = Arc::clone(&fleets);
        thread::Builder::new()
            .name("tower-throttle-redis".to_owned())
            .spawn(move || {
                connection::run(&client, &for_thread, inbox, ready);
                drop(ended_sender);
            })
            .map_err(|error| StoreError::away(format!("no thread for the connection: {error}")))?;
        is_ready
            .await
            .unwrap_or_else(|_| Err(StoreError::away("the thread of the connection has ended")))?;
        let store = Self {
            link: Arc::new(Link {
                jobs,
                fleets,
                ended,
            }),
            fleet: String::new(),
            mailboxes: Arc::default(),
            timing: Timing::FORGETFUL,
            when_away: (WhenAway::Stop, Duration::ZERO),
            secret: String::new(),
        };
        Ok(store.fleet("default"))
    }

    /// Members of the same fleet share their limits.
    ///
    /// # Panics
    /// If the name is empty, longer than 256 bytes, or has a brace in it: it is the hash tag of the fleet's key.
    #[track_caller]
    pub fn fleet(mut self, name: &str) -> Self {
        assert!(
            (1..=256).contains(&name.len()) && !name.contains(['{', '}']),
            "fleet `{name}`: expected 1 to 256 bytes without braces"
        );
        name.clone_into(&mut self.fleet);
        let mut fleets = lock(&self.link.fleets);
        let known = fleets.iter().find(|(prefix, _)| *prefix == self.prefix());
        self.mailboxes = known.map_or_else(Arc::default, |(_, mailboxes)| Arc::clone(mailboxes));
        if known.is_none() {
            fleets.push((self.prefix(), Arc::clone(&self.mailboxes)));
        }
        drop(fleets);
        self
    }

    /// How long a reservation lasts; 10 ms if nothing is said, which suits a server in the same zone. It is to be a
    /// few round trips long. A window of period P is used up to P / (P + reservation + margin).
    ///
    /// # Panics
    /// If it is zero or longer than a minute.
    #[track_caller]
    pub fn reservation(mut self, time: Duration) -> Self {
        assert!(
            !time.is_zero() && time <= Duration::from_secs(60),
            "a reservation of {time:?}: expected more than zero and at most 60s"
        );
        self.timing.reservation = micros(time).max(1);
        self
    }

    /// How long permits are held for a process that is not heard of; 5 s if nothing is said. Each process calls
    /// every third of it while it holds any.
    ///
    /// # Panics
    /// If it is shorter than a second or longer than an hour.
    #[track_caller]
    pub fn lease(mut self, time: Duration) -> Self {
        assert!(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&time),
            "a lease of {time:?}: expected 1s to 1h"
        );
        self.timing.lease = micros(time);
        // Each member is heard of in a new epoch before anything is granted: a third of a lease, and a time-out.
        self.timing.settle_least = self.timing.lease / 3 + 350_000;
        self.timing.settle_most = self.timing.settle_least.max(Timing::FORGETFUL.settle_most);
        self
    }

    /// What becomes of requests when the server has not answered for `after`; they wait, if nothing is said.
    pub fn when_away(mut self, policy: WhenAway, after: Duration) -> Self {
        self.when_away = (policy, after);
        self
    }

    /// With what members hash partitions, whose hashes stand in the server's names: the same for all of them, and nobody
    /// else's to know. If nothing is said, a reader of the server can find out a weak value by trying.
    pub fn secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// Ends the connection, for all clones: what they ask from now on is refused. Returns when the thread has ended.
    pub async fn leave(&self) {
        _ = self.link.jobs.send(Job::Leave);
        let mut ended = self.link.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    fn key(&self) -> String {
        format!("tower-throttle:{{{}}}", self.fleet)
    }

    fn prefix(&self) -> String {
        format!("{}:", self.key())
    }

    async fn call(&self, ask: &Ask) -> Result<Answer, StoreError> {
        crate::decide::check(ask).map_err(|error| StoreError::refused(error.to_string()))?;
        let text = |error: serde_json::Error| StoreError::refused(error.to_string());
        let (reply, answer) = oneshot::channel();
        let call = Call {
            key: self.key(),
            ask: serde_json::to_string(ask).map_err(text)?,
            timing: serde_json::to_string(&self.timing).map_err(text)?,
            prefix: self.prefix(),
            reply,
        };
        let left = || StoreError::refused("the store was left: connect again");
        self.link.jobs.send(Job::Call(call)).map_err(|_| left())?;
        let answer = answer.await.map_err(|_| left())??;
        serde_json::from_str(&answer).map_err(|error| {
            StoreError::refused(format!("an answer that cannot be read ({error}): {answer}"))
        })
    }
}

impl Store for RedisStore {
    fn timing(&self) -> Timing {
        self.timing
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        Box::pin(self.call(ask))
    }

    fn hash_keys(&self) -> [u64; 2] {
        // Two different hashes of the same text.
        [0, 1].map(|key| {
            let mut hasher = SipHasher13::new_with_keys(key, 0);
            (&self.fleet, &self.secret).hash(&mut hasher);
            hasher.finish()
        })
    }

    fn listen(&self, member: &str) -> Mailbox {
        let channels = vec![
            format!("{}all", self.prefix()),
            format!("{}{member}", self.prefix()),
        ];
        _ = self.link.jobs.send(Job::Listen(channels));
        self.mailboxes.open(member)
    }

    fn when_away(&self) -> Option<(WhenAway, Duration)> {
        Some(self.when_away)
    }
}

/// Names the fleet; the URL may have a password in it.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("fleet", &self.fleet)
            .field("timing", &self.timing)
            .field("when_away", &self.when_away)
            .finish_non_exhaustive()
    }
}

/// Whether tokio's clock stands still while time passes.
#[allow(clippy::disallowed_methods)] // that is what is looked for
fn is_paused() -> bool {
    let start = tokio::time::Instant::now();
    thread::sleep(Duration::from_millis(1));
    start.elapsed().is_zero()
}

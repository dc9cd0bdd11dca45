//! The lock around the core, and what surrounds it: the clock, the timer, wakers, the observer.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use tokio::{runtime, time::Instant};

use super::{
    clock::Clock,
    closing::Closing,
    conversation::Conversation,
    core::{Claim, Core, Decider, Decision, Effects, Garbage, KeyHasher, NodeId, Told, WaiterId},
    deadline::Deadline,
    detached::Detached,
    registry::Reloading,
    timer::{Armed, Driver, Joined, Timer},
};
use crate::{
    bucket::{Enforced, Learning, Tick},
    costs::Asks,
    endpoints::{Endpoints, Routes, Target, UnknownEndpoint},
    event::{Event, EventKind, Observer, SharedObserver},
    steps,
};

/// The state of one limiting layer, shared by all of its services.
pub(crate) struct Engine {
    /// Those with which it began.
    pub(super) routes: Arc<Routes>,
    pub(super) reloading: Reloading,
    pub(super) clock: Clock,
    hasher: KeyHasher,
    pub(super) detached: Detached,
    locked: Mutex<Locked>,
    /// How many threads sleep until the lock is free.
    sleeping: AtomicUsize,
    timer: Timer,
    /// Woken by the timer.
    waker: Waker,
    /// How many buckets have learned something, as the core last said. Most clients never see a
    /// refusal, and need not take the lock to report a success.
    pub(super) listening: AtomicUsize,
    observer: OnceLock<SharedObserver>,
    /// What an observer panicked with when it was told of what the timer decided, which is nobody's call.
    /// The next caller hears of it.
    unheard: Mutex<Option<Panic>>,
    pub(super) closing: Closing,
    /// With the store, if there is one.
    pub(super) conversation: OnceLock<Conversation>,
    /// Whether a service or a handle has been made: from then on only handles change what is shared.
    in_use: AtomicBool,
}

/// A request that is not admitted at once.
#[derive(Debug)]
pub(crate) enum Unadmitted {
    /// It can wait at this leaf, which is pinned for it, and was found in this epoch. What it asks for, if that is not
    /// what most do.
    Waits((NodeId, u32), Option<Box<Asks>>),
    /// It names an endpoint that does not exist.
    Unknown(Box<UnknownEndpoint>),
}

impl Unadmitted {
    #[cold]
    fn unknown(error: UnknownEndpoint) -> Self {
        Self::Unknown(Box::new(error))
    }
}

/// What the lock guards.
pub(super) struct Locked {
    pub(super) core: Core,
    wakers: Wakers,
    /// Whether a thread is at the work that is left: others leave it to that one, unless they add to it.
    at_work: bool,
}

/// A hold of the lock. Tests count its steps (law L18).
pub(super) struct Hold<'a> {
    _steps: steps::Hold,
    guard: MutexGuard<'a, Locked>,
}

impl Deref for Hold<'_> {
    type Target = Locked;

    fn deref(&self) -> &Locked {
        &self.guard
    }
}

impl DerefMut for Hold<'_> {
    fn deref_mut(&mut self) -> &mut Locked {
        &mut self.guard
    }
}

/// The wakers of waiting requests, by the waiter's index. They are no business of the core's.
#[derive(Debug, Default)]
struct Wakers {
    chunks: Vec<Vec<Option<Waker>>>,
}

/// After so many holds for one piece of work others go first. Each takes a few microseconds.
const HOLDS: usize = 64;

/// Wakers in a chunk: none is moved when there are more of them.
const CHUNK: usize = 512;

impl Wakers {
    /// Registers a waker, and returns the one that was there.
    fn set(&mut self, id: WaiterId, waker: Waker) -> Option<Waker> {
        let (chunk, place) = (id.index() / CHUNK, id.index() % CHUNK);
        while self.chunks.len() <= chunk {
            if self.chunks.len() == self.chunks.capacity() {
                steps::count(self.chunks.len());
            }
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[chunk];
        if chunk.len() <= place {
            if chunk.capacity() <= place {
                steps::count(chunk.len());
            }
            steps::count(place + 1 - chunk.len());
            chunk.resize(place + 1, None);
        }
        chunk[place].replace(waker)
    }

    /// Nobody waits, so there is no waker left: hands out the memory, to be freed without the lock. A single
    /// chunk stays, as the next one to wait would need it.
    fn clear(&mut self) -> Vec<Vec<Option<Waker>>> {
        if self.chunks.len() <= 1 {
            return Vec::new();
        }
        std::mem::take(&mut self.chunks)
    }

    fn take(&mut self, id: WaiterId) -> Option<Waker> {
        let chunk = self.chunks.get_mut(id.index() / CHUNK)?;
        chunk.get_mut(id.index() % CHUNK)?.take()
    }
}

/// Wakers to be woken or dropped, and events to be told, once the lock has been released.
///
/// All of them can run foreign code: the waker of a finished task drops it, and with it perhaps one of our
/// own futures, whose drop takes the lock.
#[derive(Default)]
struct Aftermath {
    wake: Vec<Waker>,
    discard: Vec<Waker>,
    wakers: Vec<Vec<Option<Waker>>>,
    told: Vec<Told>,
    runtimes: Vec<Driver>,
    garbage: Vec<Garbage>,
}

impl Engine {
    pub(crate) fn new(endpoints: &Endpoints, enforced: Enforced) -> Arc<Self> {
        let routes = Arc::new(endpoints.compile());
        let clock = Clock::new();
        let core = Core::new(&routes, enforced, clock.now());
        let closing = Closing::new(&core.tree);
        let detached = Detached::new(&core.tree);
        let hasher = core.tree.keys.hasher.clone();
        Arc::new_cyclic(|engine| Self {
            routes,
            reloading: Reloading::default(),
            clock,
            hasher,
            detached,
            locked: Mutex::new(Locked {
                core,
                wakers: Wakers::default(),
                at_work: false,
            }),
            sleeping: AtomicUsize::new(0),
            timer: Timer::new(),
            waker: Waker::from(Arc::new(Alarm(Weak::clone(engine)))),
            listening: AtomicUsize::new(0),
            observer: OnceLock::new(),
            unheard: Mutex::new(None),
            closing,
            conversation: OnceLock::new(),
            in_use: AtomicBool::new(false),
        })
    }

    #[inline]
    pub(super) fn lock(&self) -> Hold<'_> {
        // No foreign code runs under the lock, so only a bug of ours can poison it, and the state it
        // leaves is no worse for the next caller than a panic would be.
        let guard = match self.locked.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.sleep_until_free(),
        };
        Hold {
            _steps: steps::Hold::begin(),
            guard,
        }
    }

    #[cold]
    #[inline(never)]
    fn sleep_until_free(&self) -> MutexGuard<'_, Locked> {
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        let guard = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Lets threads that sleep until the lock is free go first, for a moment: between two holds of one piece of work.
    /// The lock is not fair, and a thread that comes back at once gets it before they are awake.
    pub(super) fn give_way(&self) {
        // About as long as it takes to wake a thread, twice over: a yield takes 0.05 us where there is nothing to run.
        const MOST: usize = 2000;
        for _ in 0..MOST {
            if self.sleeping.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// A service or a handle is made.
    pub(crate) fn begin(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }

    /// What is shared can be set by the layer until services use it.
    #[track_caller]
    pub(crate) fn assert_unused(&self, setting: &str, of_handle: &str) {
        let in_use = self.in_use.load(Ordering::Relaxed);
        if of_handle.is_empty() {
            assert!(
                !in_use,
                "`{setting}` comes before the first `layer()` or `handle()`"
            );
        }
        assert!(
            !in_use,
            "`{setting}` comes before the first `layer()` or `handle()`; afterwards there is \
             `Handle::{of_handle}`"
        );
    }

    pub(crate) fn set_max_keys(&self, n: usize) {
        self.lock().core.tree.keys.set_max_keys(n);
    }

    pub(crate) fn set_learning(&self, learning: Learning) {
        let _attached = self.attach_all();
        self.with(|core, now, fx| {
            core.set_learning(learning);
            core.run(now, fx);
        });
    }

    pub(crate) fn set_max_pause(&self, time: Duration) {
        let _attached = self.attach_all();
        self.lock().core.tree.max_pause = time;
    }

    pub(crate) fn set_priority_floor(&self, one_in: Option<u32>) {
        self.lock().core.tree.floor = one_in;
    }

    /// Tells `observer` everything from now on; `false` if there is one already.
    pub(crate) fn observe(&self, observer: impl Observer) -> bool {
        let first = self.observer.set(SharedObserver::new(observer)).is_ok();
        self.attach_all().for_ever();
        let mut locked = self.lock();
        let tree = &mut locked.core.tree;
        tree.observed = true;
        tree.looks_twice = true;
        locked.core.pauses.tracked = true;
        first
    }

    /// Notes from now on for how long requests wait for pauses.
    pub(crate) fn track_pauses(&self) {
        let _attached = self.attach_all();
        self.lock().core.pauses.tracked = true;
    }

    pub(crate) fn observer(&self) -> Option<&SharedObserver> {
        self.observer.get()
    }

    /// Admits a request at once, if every scope has room and nobody stands in its queue.
    #[inline]
    pub(super) fn admit<B>(
        &self,
        request: &http::Request<B>,
        asks: Option<Box<Asks>>,
    ) -> Result<Claim, Unadmitted> {
        if self.reloading.epoch() != 0 {
            return self.admit_anew(request, asks);
        }
        let target = self.routes.resolve(request).map_err(Unadmitted::unknown)?;
        let too_late = is_too_late(request);
        let has_key = target.key.is_some() || self.routes.partitioned();
        let hash = has_key.then(|| self.hasher.of(&target));
        if !(too_late || asks.is_some() || has_key) {
            let leaf = NodeId::new(target.spec.0 as usize);
            if let Some(claim) = self.detached.admit(leaf, &self.clock) {
                return Ok(claim);
            }
        }
        let mut locked = self.lock();
        let tree = &mut locked.core.tree;
        if tree.looks_twice {
            return self.admit_looking(locked, request, (&target, hash), asks, too_late);
        }
        let leaf = tree.locate_at_first(&target, hash);
        self.attach(&mut locked, leaf);
        let tree = &mut locked.core.tree;
        // The clock is read only where it matters. What has room at an earlier time has room now.
        let now = tree.latest();
        if !(too_late || asks.is_some() || tree.wants_to_know_the_time()) {
            if let Some(claim) = tree.admit_plain_at_first(leaf, now) {
                self.detach(&mut locked, leaf);
                return Ok(claim);
            }
        }
        self.admit_by_the_clock(locked, leaf, asks, too_late)
    }

    /// Of a request about which there is more to do.
    #[cold]
    #[inline(never)]
    fn admit_looking<B>(
        &self,
        mut locked: Hold<'_>,
        request: &http::Request<B>,
        (target, hash): (&Target<'_>, Option<u32>),
        asks: Option<Box<Asks>>,
        too_late: bool,
    ) -> Result<Claim, Unadmitted> {
        let tree = &mut locked.core.tree;
        if tree.epoch != 0 {
            // Since it was resolved.
            drop(locked);
            return self.admit_anew(request, asks);
        }
        let leaf = tree.locate_at_first(target, hash);
        self.attach(&mut locked, leaf);
        self.admit_by_the_clock(locked, leaf, asks, too_late)
    }

    /// The same by other routes than the first.
    #[cold]
    #[inline(never)]
    fn admit_anew<B>(
        &self,
        request: &http::Request<B>,
        asks: Option<Box<Asks>>,
    ) -> Result<Claim, Unadmitted> {
        let too_late = is_too_late(request);
        let (target, mut locked) = self.resolve_anew(request).map_err(Unadmitted::unknown)?;
        let tree = &mut locked.core.tree;
        let leaf = tree.locate(&target);
        let now = tree.latest();
        if !(too_late || asks.is_some() || tree.wants_to_look() || tree.wants_to_know_the_time()) {
            if let Some(claim) = tree.admit_plain(leaf, now) {
                return Ok(claim);
            }
        }
        self.admit_by_the_clock(locked, leaf, asks, too_late)
    }

    /// Of a request that had no room at the latest time that was known, or about which there is more to do.
    #[cold]
    fn admit_by_the_clock(
        &self,
        locked: Hold<'_>,
        leaf: NodeId,
        asks: Option<Box<Asks>>,
        too_late: bool,
    ) -> Result<Claim, Unadmitted> {
        let epoch = locked.core.tree.epoch;
        let mut admitted = Err(leaf);
        let asked = asks.as_deref();
        let mut step = |core: &mut Core, now: Tick, fx: &mut Effects| {
            core.run(now, fx);
            core.tree.sweep_a_little(now, fx);
            if too_late {
                return true;
            }
            if let Some(claim) = core.admit(leaf, asked, now) {
                core.unpin(leaf);
                let waited = Duration::ZERO;
                core.tree
                    .tell(leaf, now, fx, || Decision::Admitted { waited });
                admitted = Ok(claim);
                return true;
            }
            false
        };
        let told = catch_unwind(AssertUnwindSafe(|| {
            let mut locked = locked;
            // So that it is not swept.
            locked.core.pin(leaf);
            let asks_store = self.step(locked, |core, now, fx| {
                let is_decided = step(core, now, fx);
                !is_decided && core.ask_for_newcomer(leaf, asked)
            });
            if asks_store {
                // It may have answered at once.
                self.step(self.lock(), step);
            }
            if self.is_joint() {
                // The store is to hear of what is under way, also where nobody has waited.
                self.join_timer();
            }
        }));
        if let Err(panic) = told {
            // An observer's: the request does not go out.
            let undo = |core: &mut Core, now: Tick, fx: &mut Effects| match admitted {
                Ok(claim) => core.give_back(claim, now, fx),
                Err(leaf) => core.unpin(leaf),
            };
            let undo = || self.with_at(leaf, undo);
            drop(catch_unwind(AssertUnwindSafe(undo)));
            resume_unwind(panic);
        }
        admitted.map_err(|leaf| Unadmitted::Waits((leaf, epoch), asks))
    }

    /// Runs `f` under the lock, with the present time, and then sees to what follows.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Core, Tick, &mut Effects) -> T) -> T {
        self.step(self.lock(), f)
    }

    /// The same, about a request at this leaf.
    pub(super) fn with_at<T>(
        &self,
        leaf: NodeId,
        f: impl FnOnce(&mut Core, Tick, &mut Effects) -> T,
    ) -> T {
        self.step(self.lock_at(leaf), f)
    }

    /// The same, of who has the lock.
    pub(super) fn step<T>(
        &self,
        locked: Hold<'_>,
        f: impl FnOnce(&mut Core, Tick, &mut Effects) -> T,
    ) -> T {
        let (result, waker) = self.step_as(locked, None, |core, now, fx| (f(core, now, fx), None));
        debug_assert!(waker.is_none());
        result
    }

    /// The same, of a waiter that is being polled: its waker is registered if `f` says for whom, and
    /// returned otherwise.
    pub(super) fn step_as<T>(
        &self,
        mut locked: Hold<'_>,
        mut waker: Option<Waker>,
        f: impl FnOnce(&mut Core, Tick, &mut Effects) -> (T, Option<WaiterId>),
    ) -> (T, Option<Waker>) {
        let mut aftermath = Aftermath::default();
        let now = self.time(&mut locked.core);
        let mut fx = Effects::weighing(locked.core.weight());
        // They have ended before whatever happens now.
        locked.core.end_graces(now, &mut fx);
        let left = locked.core.work_left();
        let (result, id) = f(&mut locked.core, now, &mut fx);
        let adds = locked.core.work_left() > left;
        self.note(&locked);
        // Before another waiter gets its index.
        let gone = fx.gone.take().and_then(|id| locked.wakers.take(id));
        aftermath.discard.extend(gone);
        if let Some((id, waker)) = id.and_then(|id| Some((id, waker.take()?))) {
            aftermath.discard.extend(locked.wakers.set(id, waker));
        }
        self.finish(locked, fx, (now, adds), aftermath);
        (result, waker)
    }

    /// The present time. To be called under the lock.
    #[cold]
    pub(super) fn time(&self, core: &mut Core) -> Tick {
        let now = self.clock.now();
        let latest = core.tree.latest();
        let now = if now < latest {
            self.clock.catch_up(latest)
        } else {
            now
        };
        if let Some(wall) = self.is_joint().then(|| self.clock.wall()).flatten() {
            core.look_at_wall(wall, now);
        }
        core.tree.set_time(now)
    }

    /// Under the lock, so that the last to tell is the one who knows.
    pub(super) fn note(&self, locked: &Locked) {
        let listening = locked.core.listening();
        self.listening.store(listening, Ordering::Relaxed);
    }

    /// Ends a hold of the lock, and makes as many more as there is work left, unless another thread is at that and this
    /// hold has added none. Everybody is woken, and everything told, between the holds.
    fn finish<'a>(
        &'a self,
        mut locked: Hold<'a>,
        mut fx: Effects,
        (mut now, adds): (Tick, bool),
        mut aftermath: Aftermath,
    ) {
        let mut panic = None;
        let mut holds = 0;
        let mut at_work = AtWork {
            engine: self,
            is_it: false,
        };
        loop {
            let Locked {
                core,
                wakers,
                at_work: is_taken,
            } = &mut *locked;
            aftermath
                .wake
                .extend(fx.wake.drain(..).filter_map(|id| wakers.take(id)));
            aftermath.told.append(&mut fx.told);
            core.clear(&mut fx.garbage);
            if !fx.garbage.is_empty() {
                aftermath.garbage.push(fx.garbage);
            }
            // It finds out when the store is to be asked next.
            let asks = core.wants_to_ask(now);
            let due = core.next_due();
            let takes_it = core.has_work() && (adds || at_work.is_it || !*is_taken);
            if takes_it || at_work.is_it {
                *is_taken = takes_it;
                at_work.is_it = takes_it;
            }
            let more = takes_it || due <= now;
            // What is due now is done here.
            let set = !more && self.timer.plan(due, &self.clock);
            if !more && !asks && !core.has_waiters() && !core.keeps_time() {
                aftermath.runtimes = self.timer.leave();
                let chunks = wakers.clear();
                if !chunks.is_empty() {
                    aftermath.wakers = chunks;
                }
            }
            let drained = core.is_drained();
            drop(locked);
            let armed = if set { self.set_timer() } else { Armed::Ok };
            aftermath.run(self, &mut panic);
            if asks {
                self.converse();
            }
            if drained {
                self.closing.tell_drains();
            }
            // Who finds out that something is due by another runtime's clock goes by that clock.
            let _context = match &armed {
                Armed::Ok if !more => break,
                Armed::Due(Some(runtime)) => Some(runtime.enter()),
                Armed::Ok | Armed::Due(None) | Armed::Nowhere => None,
            };
            holds += 1;
            if holds % HOLDS == 0 {
                self.give_way();
            }
            locked = self.lock();
            now = self.time(&mut locked.core);
            fx = Effects::weighing(locked.core.weight());
            locked.core.run(now, &mut fx);
            if matches!(armed, Armed::Nowhere) {
                // Who is polled finds out.
                locked.core.wake_next_due(&mut fx);
            }
            self.note(&locked);
        }
        if let Some(panic) = panic.or_else(|| self.unheard()) {
            resume_unwind(panic);
        }
    }

    /// What somebody else's call has caused, and nobody was there to hear of.
    pub(super) fn keep_panic(&self, panic: Panic) {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.get_or_insert(panic);
    }

    fn unheard(&self) -> Option<Panic> {
        // Without an observer nobody panics, and while one panic unwinds no other must begin.
        self.observer.get().filter(|_| !std::thread::panicking())?;
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.take()
    }

    /// The timer has fired: nobody's call, and the runtime's driver must not hear of an observer's panic.
    fn fire(&self) {
        let fire = || self.with(Core::run);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(fire)) {
            self.keep_panic(panic);
        }
    }

    fn set_timer(&self) -> Armed {
        self.timer.set(&self.clock, &self.waker)
    }

    /// The present runtime drives the timer from now on. `false` if it cannot, and no other does.
    #[inline]
    pub(super) fn join_timer(&self) -> bool {
        match self.timer.join() {
            // What was planned before is for this one, too.
            Joined::New => self.set_timer_until_due(),
            Joined::Before => {}
            Joined::No => return self.timer.is_driven(),
        }
        true
    }

    fn set_timer_until_due(&self) {
        while let Armed::Due(runtime) = self.set_timer() {
            let _context = runtime.as_ref().map(runtime::Handle::enter);
            self.fire();
        }
    }

    /// Tells the observer.
    fn tell(&self, told: &Told) {
        let Some(observer) = self.observer.get() else {
            return;
        };
        let at = self.clock.instant(told.at).unwrap_or_else(Instant::now);
        let kind = match &told.decision {
            &Decision::Queued { waiting } => EventKind::Queued { waiting },
            &Decision::Admitted { waited } => EventKind::Admitted { waited },
            &Decision::Dispatched { queued, paused } => EventKind::Dispatched { queued, paused },
            &Decision::Answered { status, time } => EventKind::Answered { status, time },
            &Decision::Ended { in_flight } => EventKind::Ended { in_flight },
            Decision::Settled(cost) => EventKind::Settled(cost),
            Decision::NotSettled => EventKind::NotSettled,
            Decision::Refused(refused) => EventKind::Refused(refused),
            Decision::Throttled(signal) => EventKind::Throttled(signal),
            &Decision::Paused { time, cause } => EventKind::Paused { time, cause },
            Decision::Resumed => EventKind::Resumed,
            &Decision::Learned(learned) => EventKind::Learned(learned),
            &Decision::Eased(learned) => EventKind::Eased(learned),
            Decision::GivenBack => EventKind::GivenBack,
            Decision::Absent => EventKind::Absent,
            &Decision::BodyOpen { time } => EventKind::BodyOpen { time },
            Decision::Closed => EventKind::Closed,
            Decision::StoreAway(error) => EventKind::StoreAway(error),
            &Decision::StoreBack { time } => EventKind::StoreBack { time },
            Decision::Disagrees(warning) => EventKind::Disagrees(warning),
            Decision::Swept => EventKind::Swept,
        };
        observer.tell(&Event {
            endpoint: &told.endpoint,
            bucket: told.key.as_deref().unwrap_or(&told.endpoint),
            partition: told.partition,
            sequence: told.sequence,
            at,
            elsewhere: told.decider == Decider::Another,
            kind,
        });
    }
}

/// Whether a request's own deadline is over. It is refused where all refusals are: on its way into the queue.
#[inline]
fn is_too_late<B>(request: &http::Request<B>) -> bool {
    let deadline = Deadline::of(request.extensions());
    deadline.is_some_and(|Deadline(instant)| instant < Instant::now())
}

/// A thread that may be at the work which is left. If a waker panics meanwhile, others have to know.
struct AtWork<'e> {
    engine: &'e Engine,
    is_it: bool,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if self.is_it {
            self.engine.lock().at_work = false;
        }
    }
}

/// What a panic said.
pub(super) type Panic = Box<dyn std::any::Any + Send>;

impl Aftermath {
    /// To be called without the lock. A panic of an observer does not keep the others from hearing.
    fn run(&mut self, engine: &Engine, panic: &mut Option<Panic>) {
        self.discard.clear();
        self.wakers.clear();
        self.garbage.clear();
        self.runtimes.clear();
        for waker in self.wake.drain(..) {
            waker.wake();
        }
        for told in self.told.drain(..) {
            if let Err(said) = catch_unwind(AssertUnwindSafe(|| engine.tell(&told))) {
                // While another panic unwinds, a second one would end the process.
                if !std::thread::panicking() {
                    panic.get_or_insert(said);
                }
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.take_leave();
    }
}

/// What the timer wakes.
struct Alarm(Weak<Engine>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let Some(engine) = self.0.upgrade() else {
            return;
        };
        if !engine.timer.rings() {
            return;
        }
        engine.fire();
        // It has fired, whether for what is planned or not.
        engine.set_timer_until_due();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

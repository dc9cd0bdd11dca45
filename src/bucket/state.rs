use super::{
    account::{Account, Accounts},
    demand::Demand,
    gate::Gate,
    learned::{Closure, Narrowing, Refusal, Report, Sent, Setback, SlowStart, Stop},
    lessons::Lessons,
    log::{Log, MOST_RECENT},
    rules::{Enforced, Rule, Rules},
    tick::{RECENT, Span, Tick},
};

/// What one bucket has admitted and not yet forgotten.
///
/// A request goes through it in three steps. [`take_places`](Self::take_places) and
/// [`take_permits`](Self::take_permits) when it is admitted: it has a *place* in the windows and a
/// *permit*. [`stamp`](Self::stamp) when the inner service has been called: the place becomes a stamp.
/// [`release_permits`](Self::release_permits) when the work has ended. If it is never dispatched,
/// [`give_back_places`](Self::give_back_places) and `release_permits` undo the first step without trace.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(super) log: Log,
    pub(super) in_flight: u32,
    /// Of the requests in flight, those whose answer has come and whose body is open.
    pub(super) open_bodies: u32,
    pub(super) paused_until: Tick,
    pub(super) learned: Option<Box<Narrowing>>,
    /// What it has counted besides requests, by unit. It is made when there is something to count.
    pub(super) accounts: Option<Box<Accounts>>,
}

/// What came before a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    /// What came of the answer before to the same request, if that was a refusal, too.
    pub(crate) earlier: Option<&'a Setback>,
    /// How many answers the bucket had had.
    pub(crate) answered: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            log: Log::default(),
            in_flight: 0,
            open_bodies: 0,
            paused_until: Tick::NONE,
            learned: None,
            accounts: None,
        }
    }
}

impl Bucket {
    /// Whether a request that takes `demand` could go, or when it can.
    pub(crate) fn gate(&self, rules: &Rules, demand: &Demand, now: Tick) -> Gate {
        debug_assert!(!self.is_away());
        if rules.can_never_hold(demand) {
            return Gate::Closed;
        }
        let gate = self.gate_after(self.opens(), self.in_flight, rules, demand, now);
        self.gate_of_units(gate, rules, demand, now)
    }

    /// When pauses end, or let a probe through.
    pub(super) fn opens(&self) -> Tick {
        let stopped = self.stop();
        stopped.map_or(self.paused_or_closed_until(), |stop| {
            let opens = stop.opens(&self.log, self.in_flight);
            self.paused_or_closed_until().max(opens)
        })
    }

    pub(super) fn stop(&self) -> Option<&Stop> {
        self.learned.as_ref()?.stop()
    }

    /// The gate of a bucket that is paused until `start`, with `in_flight` requests, without what it counts
    /// besides requests.
    pub(super) fn gate_after(
        &self,
        start: Tick,
        in_flight: u32,
        rules: &Rules,
        demand: &Demand,
        now: Tick,
    ) -> Gate {
        match self.learned(now) {
            None => {
                let windows = rules.windows().iter().copied();
                let at_once = self.at_once(rules, now);
                self.gate_of(start, at_once, in_flight, windows, demand, now)
            }
            Some(learned) => self.narrowed_gate(learned, start, in_flight, rules, demand, now),
        }
    }

    /// Whether the gate is open. Of most buckets, this is all that is ever asked.
    #[expect(
        clippy::inline_always,
        reason = "each call does this, in one of two places"
    )]
    #[inline(always)]
    pub(crate) fn is_open(&self, rules: &Rules, now: Tick) -> bool {
        debug_assert!(!self.is_away());
        if self.learned.is_some() || self.accounts.is_some() {
            return self.gate(rules, &Demand::ONE, now) == Gate::Open;
        }
        let in_flight = self.in_flight as usize;
        if self.paused_until > now || rules.at_first().is_some_and(|limit| in_flight >= limit) {
            return false;
        }
        // A loop, as `all` is not inlined where there are two of these.
        for rule in rules.windows() {
            if !self.log.has_room(rule, now) {
                return false;
            }
        }
        true
    }

    /// What was learned, while it holds.
    pub(super) fn learned(&self, now: Tick) -> Option<&Narrowing> {
        self.learned
            .as_deref()
            .filter(|learned| !learned.is_forgotten(now))
    }

    pub(super) fn narrowed_gate(
        &self,
        learned: &Narrowing,
        start: Tick,
        in_flight: u32,
        rules: &Rules,
        demand: &Demand,
        now: Tick,
    ) -> Gate {
        let with_rate = !learned.lets_through(&self.log, in_flight, now);
        let windows = self.windows(rules, with_rate, now);
        let at_once = self.at_once(rules, now);
        let configured = self.gate_of(start, at_once, in_flight, windows, demand, now);
        let narrowed = learned
            .ceiling()
            .is_some_and(|limit| !demand.has_permits(in_flight, limit));
        match configured {
            Gate::Closed => Gate::Closed,
            // What is in flight may never end; what was learned from it does.
            Gate::Open if narrowed => Gate::Until(learned.forgotten_at()),
            Gate::Until(opens) if narrowed => Gate::Until(opens.max(learned.forgotten_at())),
            gate => gate,
        }
    }

    pub(super) fn gate_of(
        &self,
        start: Tick,
        concurrency: Option<usize>,
        in_flight: u32,
        windows: impl Iterator<Item = Rule>,
        demand: &Demand,
        now: Tick,
    ) -> Gate {
        if concurrency.is_some_and(|limit| !demand.has_permits(in_flight, limit)) {
            return Gate::Closed;
        }
        let mut opens = start;
        for rule in windows {
            let gate = if demand.requests == 1 && self.accounts.is_none() {
                self.log.gate(&rule)
            } else {
                self.log
                    .gate_of_many(&rule, demand.requests, self.surplus())
            };
            match gate {
                Gate::Open => {}
                Gate::Until(tick) => opens = opens.max(tick),
                Gate::Closed => return Gate::Closed,
            }
        }
        if opens <= now {
            Gate::Open
        } else {
            Gate::Until(opens)
        }
    }

    /// How many may be in flight, as configured and narrowed by what was learned.
    pub(crate) fn concurrency(&self, rules: &Rules, now: Tick) -> Option<usize> {
        debug_assert!(!self.is_away());
        let learned = self.learned(now).and_then(Narrowing::ceiling);
        match (self.at_once(rules, now), learned) {
            (Some(configured), Some(learned)) => Some(configured.min(learned)),
            (configured, learned) => configured.or(learned),
        }
    }

    /// The same without what was learned; where nothing is configured, as far as discovery has come.
    pub(super) fn at_once(&self, rules: &Rules, now: Tick) -> Option<usize> {
        match &self.learned {
            Some(learned) if rules.learning().discover => {
                learned.discovered(now).map(|limit| limit as usize)
            }
            _ => rules.at_first(),
        }
    }

    pub(super) fn windows<'a>(
        &'a self,
        rules: &'a Rules,
        with_rate: bool,
        now: Tick,
    ) -> impl Iterator<Item = Rule> + 'a {
        let learned = self.learned(now);
        let configured = rules.windows().iter().map(move |&rule| match learned {
            Some(learned) => learned.widened(rule),
            None => rule,
        });
        let learned = learned
            .into_iter()
            .flat_map(move |learned| learned.windows(with_rate, now));
        configured.chain(learned)
    }

    /// Takes a place in the windows, or as many as a request counts as; [`stamp`](Self::stamp) or
    /// [`give_back_places`](Self::give_back_places) ends them.
    ///
    /// The log has one for each request, and the [surplus](Self::surplus) the rest.
    #[inline]
    pub(crate) fn take_places(&mut self, n: u32) {
        debug_assert!(!self.is_away());
        self.log.take(n.min(1));
        if n > 1 {
            self.take_surplus(n - 1);
        }
    }

    pub(crate) fn give_back_places(&mut self, n: u32) {
        debug_assert!(!self.is_away());
        self.log.give_back(n.min(1));
        if n > 1 {
            self.give_back_surplus(n - 1);
        }
    }

    /// The request with a place has gone out, at `now` or a little before.
    #[expect(
        clippy::inline_always,
        reason = "each call does this, in one of two places"
    )]
    #[inline(always)]
    pub(crate) fn stamp(&mut self, rules: &Rules, n: u32, now: Tick) {
        debug_assert!(!self.is_away());
        if n != 1 {
            return self.stamp_many(rules, n, now);
        }
        if !rules.keeps_log() {
            return self.log.give_back(1);
        }
        let depth = match &self.learned {
            None => rules.depth(),
            Some(learned) => rules.depth().max(learned.depth().min(MOST_RECENT)),
        };
        // A bucket that may have to learn a window from nothing needs to know what it has sent.
        let recent = if rules.windows().is_empty() {
            now.before(RECENT)
        } else {
            now
        };
        self.log.stamp(now, depth, recent);
    }

    /// The same, of a request that counts as none or as several.
    #[cold]
    #[inline(never)]
    pub(super) fn stamp_many(&mut self, rules: &Rules, n: u32, now: Tick) {
        let Some(surplus) = n.checked_sub(1) else {
            return;
        };
        self.stamp(rules, 1, now);
        self.stamp_surplus(rules, surplus, now);
    }

    pub(crate) fn take_permits(&mut self, n: u32) {
        debug_assert!(!self.is_away());
        self.in_flight = self.in_flight.wrapping_add(n);
    }

    pub(crate) fn release_permits(&mut self, n: u32) {
        debug_assert!(!self.is_away());
        debug_assert!(self.in_flight >= n, "a permit is released once");
        self.in_flight = self.in_flight.wrapping_sub(n);
    }

    /// How many places and permits are taken.
    pub(crate) fn taken(&self) -> (u32, u32) {
        debug_assert!(!self.is_away());
        let surplus = self.surplus().map_or(0, Account::places);
        let surplus = u32::try_from(surplus).unwrap_or(u32::MAX);
        (self.log.places().saturating_add(surplus), self.in_flight)
    }

    /// What changes whenever a request takes or gives back anything here: places, permits, dispatches, and what is
    /// counted besides requests.
    pub(crate) fn sums(&self) -> [u128; 4] {
        let accounts = self.accounts().iter().map(Account::sum);
        let (places, in_flight) = self.taken();
        let stamped = self.log.stamped();
        let units = accounts.fold(0, u128::wrapping_add);
        [places.into(), in_flight.into(), stamped, units]
    }

    pub(crate) fn in_flight(&self) -> usize {
        debug_assert!(!self.is_away());
        self.in_flight as usize
    }

    /// The head of an answer has come, and its body is to follow.
    pub(crate) fn open_body(&mut self) {
        debug_assert!(!self.is_away());
        self.open_bodies = self.open_bodies.wrapping_add(1);
    }

    pub(crate) fn close_body(&mut self) {
        debug_assert!(!self.is_away());
        debug_assert!(self.open_bodies > 0, "a body is closed once");
        self.open_bodies = self.open_bodies.wrapping_sub(1);
    }

    pub(crate) fn open_bodies(&self) -> usize {
        debug_assert!(!self.is_away());
        self.open_bodies as usize
    }

    /// Closes the bucket until `until`; a pause that ends later already stays.
    pub(crate) fn pause(&mut self, until: Tick) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Ends any pause, and what the server itself has closed for longer.
    pub(crate) fn resume(&mut self) {
        debug_assert!(!self.is_away());
        self.paused_until = Tick::NONE;
        if let Some(learned) = &mut self.learned {
            learned.resume();
        }
    }

    /// Until when nothing goes but probes.
    pub(crate) fn paused_until(&self) -> Tick {
        debug_assert!(!self.is_away());
        let stopped_until = self.stop().map_or(Tick::NONE, Stop::until);
        self.paused_or_closed_until().max(stopped_until)
    }

    pub(super) fn paused_or_closed_until(&self) -> Tick {
        let closed_until = self.closure().map_or(Tick::NONE, Closure::until);
        self.paused_until.max(closed_until)
    }

    pub(super) fn closure(&self) -> Option<&Closure> {
        self.learned.as_ref()?.closure.as_ref()
    }

    /// Whether the server has named a time beyond the longest pause, and that is not over.
    pub(crate) fn is_closed(&self, now: Tick) -> bool {
        debug_assert!(!self.is_away());
        self.closure().is_some_and(|closure| closure.until() > now)
    }

    /// Whether a newcomer may go: as a probe, if the bucket is closed.
    pub(crate) fn is_open_to_probe(&self, rules: &Rules, demand: &Demand, now: Tick) -> bool {
        let wants = |closure: &Closure| closure.wants_probe(now) || closure.until() <= now;
        self.closure().is_none_or(wants) && self.is_open_but_for_closure(rules, demand, now)
    }

    /// Whether a request that has its place may go out, closed or not, if the bucket has room.
    pub(crate) fn keeps_probe(
        &self,
        serial: u64,
        rules: &Rules,
        demand: &Demand,
        now: Tick,
    ) -> bool {
        self.is_probe(serial) && self.is_open_but_for_closure(rules, demand, now)
    }

    pub(super) fn is_open_but_for_closure(
        &self,
        rules: &Rules,
        demand: &Demand,
        now: Tick,
    ) -> bool {
        let gate = self.gate_after(self.paused_until, self.in_flight, rules, demand, now);
        self.gate_of_units(gate, rules, demand, now) == Gate::Open
    }

    pub(super) fn is_probe(&self, serial: u64) -> bool {
        self.closure()
            .is_some_and(|closure| closure.is_probe(serial))
    }

    /// Whether a request that has its place is called back.
    pub(crate) fn calls_back(&self, serial: u64, now: Tick) -> bool {
        let stops = |stop: &Stop| stop.calls_back(&self.log, self.in_flight, now);
        self.paused_until > now
            || self.is_closed(now) && !self.is_probe(serial)
            || self.stop().is_some_and(stops)
    }

    /// If the bucket is closed, the next probe goes `interval` after this one.
    pub(crate) fn send_probe(&mut self, serial: u64, interval: Span, now: Tick) {
        if let Some(closure) = self.closure_mut() {
            closure.send_probe(serial, interval, now);
        }
    }

    /// A request has not gone out after all.
    pub(crate) fn withdraw_probe(&mut self, serial: u64) {
        if let Some(closure) = self.closure_mut() {
            closure.withdraw(serial);
        }
    }

    pub(super) fn closure_mut(&mut self) -> Option<&mut Closure> {
        self.learned.as_mut()?.closure.as_mut()
    }

    /// When the request that `rank` others precede can go out at the earliest, if none can before
    /// `start`, which is not before `now`.
    ///
    /// Exact for one window of requests. Several windows count each by itself, though each delays what the others
    /// count: the slot is then a lower bound. So it is in other units, of which those ahead count as nothing.
    /// Permits count as free: the end of work is not known ahead.
    pub(crate) fn slot(
        &self,
        rules: &Rules,
        demand: &Demand,
        rank: usize,
        now: Tick,
        start: Tick,
    ) -> Tick {
        debug_assert!(!self.is_away());
        let start = self.paused_until().max(start);
        let with_rate = !self.learned(now).is_some_and(Narrowing::may_let_through);
        let rank = demand.last_rank(rank);
        let requests = self
            .windows(rules, with_rate, now)
            .filter_map(|rule| {
                let slot = self.log.slot(rule, rank?, now, start);
                // The log alone does not know of requests that count as several.
                let of_many =
                    |surplus| (self.log).gate_of_many(&rule, demand.requests, Some(surplus));
                match self.surplus().map(of_many) {
                    Some(Gate::Until(opens)) => Some(slot.max(opens)),
                    _ => Some(slot),
                }
            })
            .fold(start, Tick::max);
        match self.gate_of_units(Gate::Open, rules, demand, now) {
            Gate::Until(opens) => requests.max(opens),
            Gate::Open | Gate::Closed => requests,
        }
    }

    /// Whether a refusal is its request's own trouble (law L17): then it is nobody else's news.
    pub(crate) fn judge(
        &mut self,
        refusal: &Refusal,
        past: Past<'_>,
        face: Enforced,
        rules: &Rules,
        number: (u64, u64),
        now: Tick,
    ) -> Setback {
        debug_assert!(!self.is_away());
        self.forget(now);
        let learned = self.learned.take();
        let mut learned = learned.unwrap_or_else(|| Box::new(Narrowing::after(past.answered)));
        if rules.learning().discover {
            learned.catch_up(past.answered);
        }
        let sent = self.sent(face, rules, number, now);
        let setback = learned.judge(refusal, past.earlier, &sent, rules);
        self.learned = Some(learned);
        setback
    }

    /// Whether one more refusal of the same request is its own trouble, whatever it says.
    pub(crate) fn only_refuses(&self, earlier: &Setback, now: Tick) -> bool {
        debug_assert!(!self.is_away());
        self.learned(now)
            .is_some_and(|learned| learned.only_refuses(earlier))
    }

    /// An answer was a refusal. `number` is its request's, and that of the last one admitted.
    pub(crate) fn refused(
        &mut self,
        refusal: &Refusal,
        face: Enforced,
        rules: &Rules,
        number: (u64, u64),
        now: Tick,
    ) {
        debug_assert!(!self.is_away());
        self.forget(now);
        if !refusal.concerns(face) {
            return;
        }
        let mut learned = self.learned.take().unwrap_or_default();
        let sent = self.sent(face, rules, number, now);
        let until = learned.refused(refusal, &sent, rules, self.paused_until);
        let backoff = learned.backoff(refusal, rules);
        self.learned = Some(learned);
        self.pause(until);
        // Whatever was learned: after a refusal that left the gate open, the same request would be sent
        // again at once.
        let others = self.in_flight.saturating_sub(u32::from(face.permits));
        let gate = self.gate_after(self.paused_until(), others, rules, &Demand::ONE, now);
        if gate == Gate::Open {
            self.pause(now.after(backoff));
        }
    }

    /// An answer was a refusal, for which a wider scope is to blame.
    pub(crate) fn refused_elsewhere(
        &mut self,
        face: Enforced,
        rules: &Rules,
        number: (u64, u64),
        now: Tick,
    ) {
        self.forget(now);
        if rules.learning().discover {
            let mut learned = self.learned.take().unwrap_or_default();
            learned.refused_elsewhere(&self.sent(face, rules, number, now));
            self.learned = Some(learned);
        }
    }

    /// An answer asks for a pause, and what else it says is not known yet.
    pub(crate) fn asked_to_wait(&mut self, refusal: &Refusal, now: Tick) {
        debug_assert!(!self.is_away());
        self.pause(refusal.asked_until(self.paused_until, now));
    }

    /// An answer was no refusal. `number` is its request's, and that of the last one admitted.
    pub(crate) fn succeeded(
        &mut self,
        report: &Report,
        face: Enforced,
        rules: &Rules,
        number: (u64, u64),
        now: Tick,
    ) {
        debug_assert!(!self.is_away());
        let report = &report.learned_by(rules);
        self.forget(now);
        if !self.listens(rules) && !report.is_news(rules) {
            return;
        }
        let mut learned = self.learned.take().unwrap_or_default();
        let sent = self.sent(face, rules, number, now);
        let until = learned.accepted(report, &sent, rules);
        self.learned = Some(learned);
        self.pause(until);
        self.forget(now);
    }

    /// Whether a success that says no more than that is worth hearing of.
    pub(crate) fn listens(&self, rules: &Rules) -> bool {
        let discovers = || rules.learning().discover && SlowStart::begins_with(self.in_flight);
        self.learned.is_some() || discovers()
    }

    /// What was sent by now, for an answer to the request numbered `serial`.
    pub(super) fn sent(
        &self,
        face: Enforced,
        rules: &Rules,
        (serial, newest): (u64, u64),
        now: Tick,
    ) -> Sent<'_> {
        let discovers = rules.learning().discover;
        Sent {
            serial,
            newest,
            in_flight: face.permits.then_some(self.in_flight),
            log: &self.log,
            now,
            oldest: discovers
                .then(|| self.log.dispatched(self.in_flight))
                .flatten(),
        }
    }

    /// Drops lessons that hold no longer.
    pub(super) fn forget(&mut self, now: Tick) {
        if let Some(learned) = &mut self.learned {
            learned.forget(now);
        }
        self.learned.take_if(|learned| learned.is_over(now));
    }

    pub(crate) fn has_learned(&self) -> bool {
        self.learned.is_some()
    }

    pub(crate) fn lessons(&self, now: Tick) -> Lessons {
        debug_assert!(!self.is_away());
        self.learned(now)
            .map_or_else(Lessons::default, |learned| learned.lessons(now))
    }

    /// The same, with lessons that have ended by themselves and are not yet forgotten.
    pub(crate) fn kept_lessons(&self, now: Tick) -> Lessons {
        debug_assert!(!self.is_away());
        let learned = self.learned.as_deref();
        learned.map_or_else(Lessons::default, |learned| learned.lessons(now))
    }

    /// How many were dispatched within a time, as far as that is remembered.
    pub(crate) fn sent_within(&self, time: Span, now: Tick) -> u32 {
        debug_assert!(!self.is_away());
        self.log.count_after(now.before(time))
    }

    /// Whether a new bucket would decide exactly as this one from now on.
    pub(crate) fn is_quiet(&self, longest: Span, now: Tick) -> bool {
        debug_assert!(!self.is_away());
        self.in_flight == 0
            && self.paused_until <= now
            && self.log.is_quiet(longest, now)
            && self
                .accounts()
                .iter()
                .all(|account| account.is_quiet(longest, now))
            && self
                .learned
                .as_ref()
                .is_none_or(|learned| learned.is_over(now))
    }

    /// Whether it takes long to free it.
    pub(crate) fn is_large(&self) -> bool {
        self.log.is_large() || self.accounts().iter().any(Account::is_large)
    }

    /// Whether no request has a place or a permit here.
    pub(crate) fn is_idle(&self) -> bool {
        debug_assert!(!self.is_away());
        self.in_flight == 0
            && self.log.places() == 0
            && self.accounts().iter().all(Account::is_idle)
    }
}

//! All ledgers and the queue: who is accepted, who waits, who is refused, in one decision each.
//!
//! Pure: it is told the time and keeps no clock, so that it can be checked against a naive count.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ledger::{Arrival, Full, Ledger},
    limit::Limit,
    pool::Pool,
    refused_by::RefusedBy,
    report::EndpointReport,
    unit_report::WindowUse,
    units::Costs,
    violation::Violation,
};

#[derive(Debug)]
pub(crate) struct Books {
    /// Tickets of an earlier run concern nothing here.
    run: u64,
    endpoints: Vec<Ledger>,
    pools: Vec<PoolLedger>,
    pool_names: HashMap<Arc<str>, usize>,
    kept_records: usize,
    /// How many may wait in a line.
    depth: usize,
    /// Who waits for a slot, in the order of arrival. Nobody waits for whom there is one.
    queue: VecDeque<Waiting>,
    tickets: u64,
    /// Who has got a slot since they were last asked for.
    admitted: Vec<(TicketId, Slot)>,
}

#[derive(Debug)]
struct PoolLedger {
    name: Arc<str>,
    ledger: Ledger,
    /// Whether its limit was set by hand, and so is no longer what the hook says.
    fixed: bool,
}

#[derive(Debug)]
struct Waiting {
    ticket: TicketId,
    scopes: Scopes,
}

/// Where a request counts.
#[derive(Clone, Copy, Debug)]
struct Scopes {
    endpoint: usize,
    pool: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TicketId {
    run: u64,
    number: u64,
}

/// A request that is open. It is given back with [`Books::close`].
#[derive(Debug)]
#[must_use = "a ticket that is not given back stays open"]
pub(crate) struct Ticket {
    id: TicketId,
    scopes: Scopes,
    arrived: Instant,
    /// What it costs at its end, as far as that is known.
    costs: Costs,
    kind: TicketKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TicketKind {
    Accepted,
    Refused,
    /// By a fault, before it could be judged.
    Struck,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    Accepted(Slot),
    /// Accepted, but the slot comes later: see [`Books::admitted`].
    Queued,
    Refused {
        by: RefusedBy,
        /// Whose limit it is, if not the endpoint's own.
        pool: Option<Arc<str>>,
        /// When the windows have room for it; now or earlier if they have it already, and nothing if they
        /// never will.
        room_at: Option<Instant>,
    },
}

/// What a request gets that begins to be in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot {
    pub(crate) at: Instant,
    /// How many are in flight in its pool, or on its endpoint if it has none, itself included.
    pub(crate) in_flight: usize,
    /// How many may be.
    pub(crate) concurrency: Option<usize>,
}

impl Books {
    pub(crate) fn new(
        endpoints: impl Iterator<Item = (Arc<str>, Limit)>,
        depth: usize,
        kept_records: usize,
    ) -> Self {
        let endpoints = endpoints.map(|(name, limit)| Ledger::new(&name, limit, kept_records));
        Self {
            run: 0,
            endpoints: endpoints.collect(),
            pools: Vec::new(),
            pool_names: HashMap::new(),
            kept_records,
            depth,
            queue: VecDeque::new(),
            tickets: 0,
            admitted: Vec::new(),
        }
    }

    /// Begins again with new books. Who is in flight by the old ones is no longer counted, and who waits
    /// gets a slot of no account.
    pub(crate) fn restart(&mut self, now: Instant, new: Self) {
        let old = mem::replace(self, new);
        self.run = old.run + 1;
        self.admitted = old.admitted;
        for waiting in old.queue {
            let slot = Slot {
                at: now,
                in_flight: 1,
                concurrency: self.endpoints[waiting.scopes.endpoint].limit().at_once(),
            };
            self.admitted.push((waiting.ticket, slot));
        }
    }

    /// Judges a request at its arrival.
    pub(crate) fn arrive(
        &mut self,
        arrival: Arrival,
        endpoint: usize,
        pool: Option<Pool>,
        costs: Costs,
    ) -> (Ticket, Decision) {
        let pool = pool.map(|pool| self.pool(pool, arrival.now));
        let scopes = Scopes { endpoint, pool };
        self.each(scopes, |ledger| ledger.open(arrival, &costs));
        let decision = self.decide(arrival, scopes, &costs);
        let kind = match decision {
            Decision::Refused { .. } => TicketKind::Refused,
            Decision::Accepted(_) | Decision::Queued => TicketKind::Accepted,
        };
        let ticket = self.ticket(arrival.now, scopes, kind, costs);
        if decision == Decision::Queued {
            let ticket = ticket.id;
            self.queue.push_back(Waiting { ticket, scopes });
        }
        (ticket, decision)
    }

    /// A fault struck a request before it could be judged.
    pub(crate) fn strike(&mut self, arrival: Arrival, endpoint: usize) -> Ticket {
        let ledger = &mut self.endpoints[endpoint];
        ledger.open(arrival, &Costs::default());
        ledger.struck(arrival);
        let scopes = Scopes {
            endpoint,
            pool: None,
        };
        self.ticket(arrival.now, scopes, TicketKind::Struck, Costs::default())
    }

    /// A fault struck a request that has just been accepted.
    pub(crate) fn strike_accepted(&mut self, ticket: &Ticket) {
        self.each(ticket.scopes, Ledger::struck_later);
    }

    /// A request is over, so long after the start: its answer has ended, or its client went away.
    pub(crate) fn close(&mut self, now: Instant, at: Duration, ticket: &Ticket) {
        if ticket.id.run != self.run {
            return;
        }
        self.each(ticket.scopes, Ledger::close);
        match ticket.kind {
            TicketKind::Accepted => {}
            TicketKind::Refused => {
                let took = now.saturating_duration_since(ticket.arrived);
                self.each(ticket.scopes, |ledger| ledger.refusal_took(took));
                return;
            }
            TicketKind::Struck => return,
        }
        let mut queue = self.queue.iter();
        if let Some(at) = queue.position(|waiting| waiting.ticket == ticket.id) {
            self.queue.remove(at);
            self.each(ticket.scopes, Ledger::leave_queue);
        } else {
            self.end(now, at, ticket);
            self.each(ticket.scopes, Ledger::leave_slot);
            self.admit_waiting(now);
        }
    }

    /// Counts what an answer cost.
    fn end(&mut self, now: Instant, at: Duration, ticket: &Ticket) {
        for scope in ticket.scopes.iter() {
            let (ledger, pool) = match scope {
                Scope::Endpoint(endpoint) => (&mut self.endpoints[endpoint], None),
                Scope::Pool(pool) => {
                    let PoolLedger { ledger, name, .. } = &mut self.pools[pool];
                    (ledger, Some(Arc::clone(name)))
                }
            };
            for (window, counted) in ledger.end(now, &ticket.costs) {
                let violation = Violation::exceeded(at, pool.clone(), &window, counted);
                self.each(ticket.scopes, |ledger| ledger.exceed(&violation));
            }
        }
    }

    /// Who has got a slot since this was last asked.
    pub(crate) fn admitted(&mut self) -> Vec<(TicketId, Slot)> {
        mem::take(&mut self.admitted)
    }

    pub(crate) fn set_limit(&mut self, now: Instant, endpoint: usize, limit: Limit) {
        self.endpoints[endpoint].set_limit(limit);
        self.admit_waiting(now);
    }

    /// Sets a pool's limit, whatever the hook says from now on.
    pub(crate) fn set_pool_limit(&mut self, now: Instant, name: &str, limit: Limit) {
        let index = self.pool(Pool::new(name, limit.clone()), now);
        self.pools[index].fixed = true;
        self.pools[index].ledger.set_limit(limit);
        self.admit_waiting(now);
    }

    /// How full the windows are of an endpoint, and of a pool if there is one.
    pub(crate) fn windows(
        &self,
        now: Instant,
        endpoint: usize,
        pool: Option<&str>,
    ) -> Vec<WindowUse> {
        let mut windows = self.endpoints[endpoint].windows(now);
        let pool = pool.and_then(|name| self.pool_names.get(name));
        if let Some(pool) = pool {
            windows.extend(self.pools[*pool].ledger.windows(now));
        }
        windows
    }

    pub(crate) fn endpoint(&mut self, endpoint: usize) -> &mut Ledger {
        &mut self.endpoints[endpoint]
    }

    /// The score cards of the endpoints, and of the pools.
    pub(crate) fn report(&self) -> (Vec<EndpointReport>, Vec<EndpointReport>) {
        let endpoints = self.endpoints.iter().map(Ledger::report);
        let pools = self.pools.iter().map(|pool| pool.ledger.report());
        (endpoints.collect(), pools.collect())
    }

    /// Starts new score cards.
    pub(crate) fn reset(&mut self) {
        let pools = self.pools.iter_mut().map(|pool| &mut pool.ledger);
        for ledger in self.endpoints.iter_mut().chain(pools) {
            ledger.reset();
        }
    }

    /// The pool of this name, made if there is none, with this limit unless that was set by hand.
    fn pool(&mut self, pool: Pool, now: Instant) -> usize {
        let Pool { name, limit } = pool;
        let Some(&index) = self.pool_names.get(&name) else {
            let index = self.pools.len();
            self.pools.push(PoolLedger {
                name: Arc::clone(&name),
                ledger: Ledger::new(&name, limit, self.kept_records),
                fixed: false,
            });
            self.pool_names.insert(name, index);
            return index;
        };
        let known = &mut self.pools[index];
        if !known.fixed && *known.ledger.limit() != limit {
            known.ledger.set_limit(limit);
            // Those who have waited come before the one that brought the news.
            self.admit_waiting(now);
        }
        index
    }

    fn decide(&mut self, arrival: Arrival, scopes: Scopes, costs: &Costs) -> Decision {
        if let Some((scope, Full { by, room_at })) = self.obstacle(arrival.now, scopes, costs) {
            let pool = match scope {
                Scope::Endpoint(_) => None,
                Scope::Pool(pool) => Some(Arc::clone(&self.pools[pool].name)),
            };
            let in_flight = self.ledger(scope).in_flight();
            let too_soon = room_at.map(|at| at.saturating_duration_since(arrival.now));
            let violation = Violation::refused(arrival.at, pool.clone(), by, in_flight, too_soon);
            self.ledger_mut(scope).refuse_by_window(by);
            self.each(scopes, |ledger| ledger.refuse(arrival, by, &violation));
            return Decision::Refused { by, pool, room_at };
        }
        self.each(scopes, |ledger| ledger.accept(arrival, costs));
        if self.no_slot(scopes).is_some() {
            self.each(scopes, Ledger::join_queue);
            return Decision::Queued;
        }
        Decision::Accepted(self.admit(arrival.now, scopes))
    }

    /// What keeps a request from being accepted, if anything does, and when the windows have room for it.
    fn obstacle(&self, now: Instant, scopes: Scopes, costs: &Costs) -> Option<(Scope, Full)> {
        let full = scopes.iter().filter_map(|scope| {
            let full = self.ledger(scope).full_window(now, costs)?;
            Some((scope, full))
        });
        // Of two that have room at the same time, the endpoint's own.
        let full = full.reduce(|first, second| {
            if second.1.is_later_than(&first.1) {
                second
            } else {
                first
            }
        });
        // Concurrency first: it is what the API behind this mock really refuses by, and a client
        // that is told of a full window would wait for the wrong thing.
        if let Some((scope, limit)) = self.no_slot(scopes).filter(|_| !self.may_wait(scopes)) {
            let by = RefusedBy::Concurrency { limit };
            let room_at = full.map_or(Some(now), |(_, full)| full.room_at);
            return Some((scope, Full { by, room_at }));
        }
        full
    }

    fn no_slot(&self, scopes: Scopes) -> Option<(Scope, usize)> {
        let mut all = scopes.iter();
        all.find_map(|scope| Some((scope, self.ledger(scope).no_slot()?)))
    }

    /// Whether the line that a request would wait in has room.
    fn may_wait(&self, scopes: Scopes) -> bool {
        self.ledger(scopes.narrow()).waiting() < self.depth
    }

    fn admit(&mut self, now: Instant, scopes: Scopes) -> Slot {
        self.each(scopes, Ledger::take_slot);
        let ledger = self.ledger(scopes.narrow());
        Slot {
            at: now,
            in_flight: ledger.in_flight(),
            concurrency: ledger.limit().at_once(),
        }
    }

    /// Gives slots to those who wait, in the order of their arrival, as far as there are any. Who needs
    /// another pool's or endpoint's is no obstacle.
    fn admit_waiting(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&Waiting { ticket, scopes }) = self.queue.get(at) {
            if self.no_slot(scopes).is_some() {
                at += 1;
                continue;
            }
            self.queue.remove(at);
            self.each(scopes, Ledger::leave_queue);
            let slot = self.admit(now, scopes);
            self.admitted.push((ticket, slot));
        }
    }

    fn ticket(
        &mut self,
        arrived: Instant,
        scopes: Scopes,
        kind: TicketKind,
        costs: Costs,
    ) -> Ticket {
        self.tickets += 1;
        Ticket {
            id: TicketId {
                run: self.run,
                number: self.tickets,
            },
            scopes,
            arrived,
            costs,
            kind,
        }
    }

    fn ledger(&self, scope: Scope) -> &Ledger {
        match scope {
            Scope::Endpoint(endpoint) => &self.endpoints[endpoint],
            Scope::Pool(pool) => &self.pools[pool].ledger,
        }
    }

    fn ledger_mut(&mut self, scope: Scope) -> &mut Ledger {
        match scope {
            Scope::Endpoint(endpoint) => &mut self.endpoints[endpoint],
            Scope::Pool(pool) => &mut self.pools[pool].ledger,
        }
    }

    fn each(&mut self, scopes: Scopes, change: impl Fn(&mut Ledger)) {
        change(&mut self.endpoints[scopes.endpoint]);
        if let Some(pool) = scopes.pool {
            change(&mut self.pools[pool].ledger);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Scope {
    Endpoint(usize),
    Pool(usize),
}

impl Scopes {
    fn iter(self) -> impl Iterator<Item = Scope> {
        let endpoint = Scope::Endpoint(self.endpoint);
        std::iter::once(endpoint).chain(self.pool.map(Scope::Pool))
    }

    /// The one whose numbers a request is told, and in whose line it waits.
    fn narrow(self) -> Scope {
        self.pool
            .map_or(Scope::Endpoint(self.endpoint), Scope::Pool)
    }
}

impl Ticket {
    pub(crate) fn id(&self) -> TicketId {
        self.id
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// What its answer costs, as its answer says: that counts at its end.
    pub(crate) fn answered(&mut self, costs: &Costs) {
        self.costs.replace(costs);
    }
}

#[cfg(test)]
mod tests;

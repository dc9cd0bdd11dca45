//! A random history: members that ask, lose answers, repeat, die and freeze; a server that forgets, is put back to
//! an older state, and whose clock steps.

use std::collections::VecDeque;

use tower_throttle_store::{
    member::{Member, Slot},
    protocol::{Answer, Ask, Head, Leaf, Lesson, Micros, Scope, Timing, Window},
};

use super::{
    oracle::{self, Excused, Sent, Why},
    rng::Rng,
    world::World,
};

pub const TIMING: Timing = Timing {
    reservation: 5_000,
    ahead: 10_000,
    lease: 400_000,
    settle_least: 250_000,
    settle_most: 2_000_000,
};

const START: Micros = 1_800_000_000_000_000;
const TIME_OUT: Micros = 20_000;

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a whole number"))
}

/// What may happen in a history.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // any of them together
pub struct Troubles {
    pub network: bool,
    pub amnesia: bool,
    pub clock: bool,
    pub members: bool,
}

impl Troubles {
    pub const ALL: Self = Self {
        network: true,
        amnesia: true,
        clock: true,
        members: true,
    };
    pub const NONE: Self = Self {
        network: false,
        amnesia: false,
        clock: false,
        members: false,
    };
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub calls: usize,
    pub sent: usize,
    pub missed: usize,
    pub repeated: usize,
    pub epochs: usize,
    pub steps: usize,
    pub excused: Excused,
}

/// A kind of request: its scopes, and what it costs at most.
#[derive(Clone, Debug)]
struct Kind {
    scopes: Vec<usize>,
    most: Vec<i64>,
    permits: i64,
    backlog: usize,
}

#[derive(Clone, Debug)]
struct Waiting {
    entered: Micros,
    costs: Vec<i64>,
    permits: i64,
}

#[derive(Debug)]
struct Running {
    slot: Slot,
    ends: Micros,
    /// Into `Fleet::sent`.
    sent: usize,
}

#[derive(Debug)]
struct Process {
    member: Member,
    scopes: Vec<Scope>,
    queues: Vec<VecDeque<Waiting>>,
    next: Vec<Micros>,
    reported: Vec<bool>,
    slots: Vec<(Slot, Micros)>,
    running: Vec<Running>,
    /// The call under way, when it was last sent, and for how long the clock had stood still when it was first.
    under_way: Option<(Ask, Micros, Micros)>,
    /// True time at which it is awake again, and for how long its clock stood still so far.
    frozen_until: Micros,
    stood_still: Micros,
    ids: i64,
    /// True time of its last executed call.
    contact: Micros,
    /// The last call that the store remembers, and the one in the saved state.
    recorded: i64,
    saved: i64,
    urgent: bool,
}

enum Event {
    Call(u64, Box<Ask>),
    Reply(u64, i64, Box<Answer>),
}

struct Fleet<'a, W> {
    rng: Rng,
    seed: u64,
    world: &'a mut W,
    troubles: Troubles,
    now: Micros,
    offset: Micros,
    /// A step forward that no member with a history has met yet.
    stepped: bool,
    /// A step that no call has met yet: two of them may add up to one that is too small to be seen.
    unmet: bool,
    /// The last step forward, and when it was.
    step: (Micros, Micros),
    run: String,
    kinds: Vec<Kind>,
    scopes: Vec<Scope>,
    units: Vec<String>,
    processes: Vec<(u64, Process)>,
    born: u64,
    events: Vec<(Micros, Event)>,
    sent: Vec<Sent>,
    count: Count,
    forgot_at: Micros,
    epoch: Epoch,
    /// Processes that had a history when the store forgot, and have asserted nothing since.
    silent: Vec<u64>,
    lax: Lax,
}

/// How half of the members differ from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lax {
    Not,
    /// Larger and shorter windows.
    Looser,
    /// The same, and what counts at the end for the others counts at dispatch for them.
    AtDispatch,
}

/// What is seen of the store's epoch in its answers.
#[derive(Debug)]
enum Epoch {
    /// No call has met it yet.
    Coming,
    /// It grants nothing yet: its name, and the true time of its first call.
    Settling(String, Micros),
    Open(String, Micros),
}

/// Runs one history of about `calls` calls, and fails if a limit was broken.
pub fn run<W: World>(seed: u64, world: &mut W, troubles: Troubles, calls: usize) -> Count {
    let mut rng = Rng::new(seed);
    let units = ["requests", "tokens", "output"].map(str::to_owned).to_vec();
    let scopes = (0..=rng.below(3))
        .map(|index| scope(&mut rng, index, &units))
        .collect::<Vec<_>>();
    let kinds = (0..=rng.below(3))
        .map(|_| kind(&mut rng, &scopes, &units))
        .collect();
    world.forget();
    let lax = match rng.percent(20) {
        true if rng.percent(50) => Lax::AtDispatch,
        true => Lax::Looser,
        false => Lax::Not,
    };
    let mut fleet = Fleet {
        seed,
        world,
        troubles,
        now: 0,
        offset: START,
        stepped: false,
        unmet: false,
        step: (0, 0),
        run: "run0".to_owned(),
        kinds,
        scopes,
        units,
        processes: Vec::new(),
        born: 0,
        events: Vec::new(),
        sent: Vec::new(),
        count: Count::default(),
        forgot_at: Micros::MIN / 2,
        epoch: Epoch::Coming,
        silent: Vec::new(),
        lax,
        rng,
    };
    for _ in 0..2 + fleet.rng.below(4) {
        fleet.bear();
    }
    while fleet.count.calls < calls && fleet.now < 10_000_000 {
        fleet.step();
    }
    fleet.finish()
}

fn scope(rng: &mut Rng, index: usize, units: &[String]) -> Scope {
    let mut windows: Vec<Window> = Vec::new();
    for _ in 0..rng.below(4) {
        let unit = rng.below(units.len());
        let rank = windows
            .iter()
            .filter(|window| window.unit == units[unit])
            .count();
        windows.push(Window {
            unit: units[unit].clone(),
            rank: i64::try_from(rank).unwrap(),
            n: if unit == 0 {
                rng.range(1..12)
            } else {
                rng.range(10..60)
            },
            period: rng.range(30_000..250_000),
            margin: if rng.percent(50) {
                rng.range(0..10_000)
            } else {
                0
            },
            at_end: unit == 2,
            ..Window::default()
        });
    }
    let permits = (windows.is_empty() || rng.percent(50)).then(|| rng.range(1..6));
    Scope {
        name: format!("s{index}"),
        windows,
        permits,
        ..Scope::default()
    }
}

fn kind(rng: &mut Rng, scopes: &[Scope], units: &[String]) -> Kind {
    let mut chosen: Vec<_> = (0..scopes.len()).filter(|_| rng.percent(60)).collect();
    if chosen.is_empty() {
        chosen.push(rng.below(scopes.len()));
    }
    let mut most = vec![
        if rng.percent(20) { 2 } else { 1 },
        rng.range(1..12),
        rng.range(1..12),
    ];
    let mut permits = if rng.percent(15) { 2 } else { 1 };
    // What is larger than a limit goes alone, which is another test's subject.
    for scope in chosen.iter().map(|index| &scopes[*index]) {
        permits = scope.permits.unwrap_or(permits).min(permits);
        for window in &scope.windows {
            let unit = units.iter().position(|unit| *unit == window.unit).unwrap();
            most[unit] = window.n.min(most[unit]);
        }
    }
    Kind {
        scopes: chosen,
        most,
        permits,
        backlog: 1 + rng.below(9),
    }
}

impl Epoch {
    fn is(&self, epoch: &str) -> bool {
        matches!(self, Self::Settling(name, _) | Self::Open(name, _) if name == epoch)
    }
}

impl<W: World> Fleet<'_, W> {
    fn bear(&mut self) {
        let scopes = if self.lax != Lax::Not && self.rng.percent(50) {
            self.laxest()
        } else {
            self.scopes.clone()
        };
        let many = self.kinds.len();
        let process = Process {
            member: Member::new(self.rng.name(), self.units.clone(), TIMING),
            scopes,
            queues: vec![VecDeque::new(); many],
            // Of the arrivals, and then of the asks.
            next: vec![self.now; 2 * many],
            reported: vec![false; many],
            slots: Vec::new(),
            running: Vec::new(),
            under_way: None,
            frozen_until: 0,
            stood_still: self.rng.range(0..1_000_000),
            ids: 0,
            contact: self.now,
            recorded: 0,
            saved: 0,
            urgent: false,
        };
        self.born += 1;
        self.processes.push((self.born, process));
    }

    /// The scopes as the laxest members have them.
    fn laxest(&self) -> Vec<Scope> {
        let mut scopes = self.scopes.clone();
        if self.lax != Lax::Not {
            for window in scopes.iter_mut().flat_map(|scope| &mut scope.windows) {
                window.n += 2;
                window.period -= 5_000;
                window.at_end &= self.lax != Lax::AtDispatch;
            }
        }
        scopes
    }

    fn step(&mut self) {
        self.now += self.rng.range(50..1_200);
        self.trouble();
        self.lapse();
        for index in 0..self.processes.len() {
            if self.processes[index].1.frozen_until <= self.now {
                self.arrive(index);
                self.end(index);
                self.dispatch(index);
                self.speak(index);
            }
        }
        self.events.sort_by_key(|(at, _)| *at);
        let due = self.events.partition_point(|(at, _)| *at <= self.now);
        for (_, event) in self.events.drain(..due).collect::<Vec<_>>() {
            match event {
                Event::Call(born, ask) => self.execute(born, *ask),
                Event::Reply(born, seq, answer) => self.hear(born, seq, &answer),
            }
        }
    }

    fn trouble(&mut self) {
        if self.troubles.members && self.rng.permille(2) {
            let index = self.rng.below(self.processes.len());
            if self.rng.percent(40) {
                self.die(index);
            } else if self.processes[index].1.frozen_until <= self.now {
                let time = self.rng.range(5_000..700_000);
                let (_, process) = &mut self.processes[index];
                process.frozen_until = self.now + time;
                // A machine that is frozen as a whole: its clock stands still.
                if self.rng.percent(50) {
                    process.stood_still += time;
                }
            }
        }
        if self.troubles.amnesia && self.rng.permille(1) {
            self.count.epochs += 1;
            let restored = match self.rng.below(3) {
                0 => {
                    self.world.forget();
                    false
                }
                1 => {
                    self.world.forget();
                    self.run = self.rng.name();
                    false
                }
                _ => {
                    self.world.restore();
                    self.run = self.rng.name();
                    true
                }
            };
            self.forgot_at = self.now;
            // The new epoch begins with the clock as it is.
            self.stepped = false;
            self.epoch = Epoch::Coming;
            self.silent = self.processes.iter().map(|(born, _)| *born).collect();
            for (_, process) in &mut self.processes {
                process.recorded = if restored { process.saved } else { 0 };
            }
            if self.rng.percent(50) {
                self.bear();
                if self.processes.len() > 6 {
                    self.die(0);
                }
            }
        }
        if self.troubles.amnesia && self.rng.permille(2) {
            self.world.save();
            for (_, process) in &mut self.processes {
                process.saved = process.recorded;
            }
        }
        // No member with a history has called: nobody could have told.
        if self.stepped && self.now - self.step.1 > 300_000 {
            self.offset -= self.step.0;
            self.stepped = false;
        }
        if self.troubles.clock && !self.unmet && self.rng.permille(2) {
            self.count.steps += 1;
            self.unmet = true;
            if self.rng.percent(50) {
                self.offset -= self.rng.range(1_000..4_000_000);
            } else {
                self.step = (self.rng.range(2_000_000..6_000_000), self.now);
                self.offset += self.step.0;
                self.stepped = true;
            }
        }
    }

    /// A lease that is over covers nothing.
    fn lapse(&mut self) {
        for (_, process) in &self.processes {
            let lease = process.contact + TIMING.lease;
            for running in process.running.iter().filter(|_| lease < self.now) {
                self.sent[running.sent].unknown_from(Why::CutOff, lease);
            }
        }
    }

    /// The store grants again. Of what was under way when it forgot it knows what members have asserted.
    fn opens(&mut self) {
        for sent in &mut self.sent {
            let ended_before = sent.ended.is_some_and(|ended| ended < self.forgot_at);
            if !ended_before && self.silent.contains(&sent.by.0) {
                sent.unknown_from(Why::Silent, self.now);
            }
        }
    }

    /// The store hears of requests of a process: what it grants from now on is granted in knowledge of them.
    fn learns(&mut self, born: u64, of: impl Fn(i64) -> bool) {
        let to = self.now + TIMING.ahead + TIMING.reservation;
        let sent = self.sent.iter_mut();
        for sent in sent.filter(|sent| sent.by.0 == born && of(sent.by.1)) {
            let open = sent.gaps.iter_mut().filter(|gap| gap.to == Micros::MAX);
            open.for_each(|gap| gap.to = to);
        }
    }

    /// A process ends, with all that it was doing; another comes.
    fn die(&mut self, index: usize) {
        self.lapse();
        let (_, process) = self.processes.swap_remove(index);
        for running in &process.running {
            self.sent[running.sent].ended.get_or_insert(self.now);
        }
        // What was sent is still on its way, but nobody of that number hears it.
        self.bear();
    }

    fn arrive(&mut self, index: usize) {
        let (_, process) = &mut self.processes[index];
        let own = self.now - process.stood_still;
        for (number, kind) in self.kinds.iter().enumerate() {
            if process.next[number] <= self.now {
                process.next[number] = self.now + self.rng.range(500..40_000);
                let queue = &mut process.queues[number];
                if queue.len() < kind.backlog {
                    let costs = kind
                        .most
                        .iter()
                        .map(|most| self.rng.range(1..most + 1))
                        .collect();
                    queue.push_back(Waiting {
                        entered: own,
                        costs,
                        permits: kind.permits,
                    });
                } else if self.rng.percent(20) {
                    // Somebody gives up; with a slot in hand, that goes back when it opens.
                    queue.pop_back();
                }
            }
        }
    }

    fn end(&mut self, index: usize) {
        let (_, process) = &mut self.processes[index];
        let own = self.now - process.stood_still;
        let (over, running): (Vec<_>, Vec<_>) = std::mem::take(&mut process.running)
            .into_iter()
            .partition(|running| running.ends <= self.now);
        process.running = running;
        for ended in over {
            let sent = &mut self.sent[ended.sent];
            let mut costs = sent.estimate.clone();
            if self.rng.percent(60) {
                for (unit, cost) in costs.iter_mut().enumerate().skip(1) {
                    *cost = self.rng.range(0..*cost + 1);
                    if unit == 1 {
                        process.member.settled(&ended.slot, unit, *cost);
                    }
                }
                sent.settled = Some((self.now, costs.clone()));
            }
            sent.ended.get_or_insert(self.now);
            process.member.ended(ended.slot.id, Some(costs), own);
        }
    }

    fn dispatch(&mut self, index: usize) {
        let (born, process) = &mut self.processes[index];
        let own = self.now - process.stood_still;
        for (slot, stood_still) in std::mem::take(&mut process.slots) {
            if own < slot.opens {
                process.slots.push((slot, stood_still));
                continue;
            }
            // What a clock that stood still cannot tell, the wall clock does.
            let late = own > slot.closes || process.stood_still > stood_still;
            let number = usize::try_from(slot.leaf).unwrap();
            let first = process.queues[number].front().cloned();
            let Some(first) = first.filter(|first| {
                !late && first.costs == slot.costs && first.permits == slot.permits
            }) else {
                self.count.missed += 1;
                process.member.give_back(&slot, false);
                process.urgent = true;
                continue;
            };
            if self.rng.percent(20) && own + 1_300 < slot.closes {
                process.slots.push((slot, stood_still));
                continue;
            }
            process.queues[number].pop_front();
            process.member.dispatched(&slot, own);
            self.count.sent += 1;
            self.sent.push(Sent {
                by: (*born, slot.id),
                at: self.now,
                scopes: self.kinds[number].scopes.clone(),
                estimate: first.costs,
                settled: None,
                ended: None,
                permits: slot.permits,
                gaps: Vec::new(),
            });
            process.running.push(Running {
                slot,
                ends: self.now + self.rng.range(1_000..120_000),
                sent: self.sent.len() - 1,
            });
        }
    }

    fn speak(&mut self, index: usize) {
        let (born, process) = &mut self.processes[index];
        let (born, own) = (*born, self.now - process.stood_still);
        if let Some((ask, last, _)) = &mut process.under_way {
            if own - *last < TIME_OUT {
                return;
            }
            *last = own;
            self.count.repeated += 1;
            let ask = ask.clone();
            return self.send(born, ask);
        }
        let due = (0..self.kinds.len()).any(|number| {
            let waits = process.queues[number].len() > process.in_hand(number);
            waits && process.next_ask(number) <= own || !waits && process.reported[number]
        });
        let beats = process.member.heartbeat(own).is_some_and(|at| at <= own);
        if !(due || beats || process.urgent || process.member.has_news()) {
            return;
        }
        process.urgent = false;
        let leaves = self
            .kinds
            .iter()
            .enumerate()
            .filter_map(|(number, kind)| process.report(number, kind, own, &mut self.rng));
        let mut leaves: Vec<_> = leaves.collect();
        let needs = |name: &str| {
            process.member.scopes(own).any(|scope| scope == name)
                || leaves.iter().any(|leaf| {
                    leaf.scopes
                        .iter()
                        .any(|scope| process.scopes[*scope].name == name)
                })
        };
        let mut scopes: Vec<_> = process
            .scopes
            .iter()
            .filter(|scope| needs(&scope.name))
            .cloned()
            .collect();
        for leaf in &mut leaves {
            for scope in &mut leaf.scopes {
                let name = &process.scopes[*scope].name;
                *scope = scopes.iter().position(|scope| scope.name == *name).unwrap();
            }
        }
        for scope in &mut scopes {
            scope.pause = self.rng.permille(5).then(|| self.rng.range(1_000..150_000));
            scope.resume = self.rng.permille(3);
            if self.rng.permille(10) {
                let (subject, value) = ("rate".to_owned(), self.rng.range(1..100));
                scope.lessons = vec![Lesson { subject, value }];
            }
        }
        let ask = process.member.ask(own, scopes, leaves).clone();
        process.under_way = Some((ask.clone(), own, process.stood_still));
        self.send(born, ask);
    }

    fn send(&mut self, born: u64, ask: Ask) {
        let at = self.now + self.way();
        if self.troubles.network && self.rng.percent(4) {
            let late = self.now + self.rng.range(0..400_000);
            self.events
                .push((late, Event::Call(born, Box::new(ask.clone()))));
        }
        if !(self.troubles.network && self.rng.percent(3)) {
            self.events.push((at, Event::Call(born, Box::new(ask))));
        }
    }

    fn way(&mut self) -> Micros {
        if self.troubles.network && self.rng.percent(5) {
            self.rng.range(0..200_000)
        } else {
            self.rng.range(100..1_500)
        }
    }

    fn execute(&mut self, born: u64, ask: Ask) {
        let process = self
            .processes
            .iter_mut()
            .find(|(number, _)| *number == born);
        // With the first call a new epoch begins, with the clock as it is.
        let begins = matches!(self.epoch, Epoch::Coming);
        // Only a member that was heard of just before can tell that the clock was set forward.
        let history = process.as_ref().is_some_and(|(_, process)| {
            ask.since.is_some() && process.recorded + 1 == ask.seq && self.epoch.is(&ask.epoch)
        });
        // What the store answered before, it answers again without a look at the clock.
        let known = process
            .as_ref()
            .is_some_and(|(_, process)| process.recorded >= ask.seq && !begins);
        if self.stepped && !history && !known && !begins {
            self.events
                .push((self.now + 1_000, Event::Call(born, Box::new(ask))));
            return;
        }
        self.count.calls += 1;
        let answer = self.world.ask(&ask, self.now + self.offset, &self.run);
        if begins {
            self.epoch = Epoch::Settling(answer.epoch.clone(), self.now);
            self.stepped = false;
            self.unmet = false;
        }
        // Whether a call of one that died was answered before is not known here.
        if let Some((_, process)) = process.filter(|_| !known && !answer.stale) {
            self.stepped = false;
            self.unmet = false;
            process.recorded = ask.seq;
            process.contact = self.now;
            self.met(born, &ask, &answer);
        }
        if !(self.troubles.network && self.rng.percent(6)) {
            let at = self.now + self.way();
            self.events
                .push((at, Event::Reply(born, ask.seq, Box::new(answer))));
        }
    }

    /// A call was executed for the first time: what the store has heard, and whether it waits as long as it says.
    fn met(&mut self, born: u64, ask: &Ask, answer: &Answer) {
        let (Epoch::Settling(name, begun) | Epoch::Open(name, begun)) = &self.epoch else {
            panic!("no epoch has begun");
        };
        assert_eq!(*name, answer.epoch, "seed {}", self.seed);
        let (name, begun) = (name.clone(), *begun);
        if ask.epoch == name && self.silent.contains(&born) {
            self.silent.retain(|silent| *silent != born);
            self.learns(born, |_| true);
        }
        let kept = ask.scopes.iter().flat_map(|scope| &scope.keep).flatten();
        let ids = kept.map(|hold| hold.id);
        // A release means nothing to a store that may have forgotten what is released.
        let releases = ask.releases.iter().filter(|_| ask.epoch == name);
        let ids: Vec<_> = ids.chain(releases.map(|release| release.id)).collect();
        self.learns(born, |id| ids.contains(&id));
        if answer.settling == 0 {
            let windows = ask.scopes.iter().flat_map(|scope| &scope.windows);
            let longest = windows.map(|window| window.period + window.margin).max();
            let over = longest.unwrap_or(0) + TIMING.reservation + TIMING.ahead;
            let settles = over.clamp(TIMING.settle_least, TIMING.settle_most);
            assert!(
                self.now - begun >= settles,
                "seed {}: settled {} after it began, before {settles}",
                self.seed,
                self.now - begun
            );
            if let Epoch::Settling(..) = self.epoch {
                self.epoch = Epoch::Open(name, begun);
                self.opens();
            }
        }
    }

    fn hear(&mut self, born: u64, seq: i64, answer: &Answer) {
        let Some((_, process)) = self
            .processes
            .iter_mut()
            .find(|(number, _)| *number == born)
        else {
            return;
        };
        if process.frozen_until > self.now {
            let again = Event::Reply(born, seq, Box::new(answer.clone()));
            self.events.push((process.frozen_until, again));
            return;
        }
        let Some((.., stood_still)) = process.under_way.take_if(|(ask, ..)| ask.seq == seq) else {
            return;
        };
        let own = self.now - process.stood_still;
        let heard = process.member.hear(own, answer);
        if heard.void {
            for (slot, _) in std::mem::take(&mut process.slots) {
                process.member.give_back(&slot, true);
            }
        }
        process.urgent |= heard.void || heard.assert;
        for (leaf, told) in heard.leaves {
            let number = usize::try_from(leaf).unwrap();
            process.reported[number] = told.again.is_some();
            process.next[self.kinds.len() + number] = own + told.again.unwrap_or(0);
        }
        process
            .slots
            .extend(heard.slots.into_iter().map(|slot| (slot, stood_still)));
    }

    fn finish(mut self) -> Count {
        self.lapse();
        let scopes = self.laxest();
        self.count.excused = oracle::check(self.seed, &scopes, &self.units, &self.sent);
        self.count
    }
}

impl Process {
    fn in_hand(&self, number: usize) -> usize {
        let mine = |(slot, _): &&(Slot, Micros)| usize::try_from(slot.leaf) == Ok(number);
        self.slots.iter().filter(mine).count()
    }

    fn next_ask(&self, number: usize) -> Micros {
        let at = self.next[self.queues.len() + number];
        if self.reported[number] { at } else { 0 }
    }

    fn report(&mut self, number: usize, kind: &Kind, own: Micros, rng: &mut Rng) -> Option<Leaf> {
        let in_hand = self.in_hand(number);
        let waiting: Vec<_> = self.queues[number].iter().skip(in_hand).collect();
        let mut leaf = Leaf {
            leaf: i64::try_from(number).unwrap(),
            class: i64::from(number == 1),
            scopes: kind.scopes.clone(),
            ..Leaf::default()
        };
        if waiting.is_empty() {
            return self.reported[number].then_some(leaf);
        }
        // Sometimes not all are listed.
        let listed = if rng.percent(30) {
            2.min(waiting.len())
        } else {
            waiting.len()
        };
        let most = if waiting.len() > listed {
            listed - 1
        } else {
            listed
        };
        let most = most.clamp(0, 3);
        if most == 0 {
            return None;
        }
        leaf.ages = waiting[..listed]
            .iter()
            .map(|request| own - request.entered)
            .collect();
        if waiting.len() > listed {
            leaf.ages[listed - 1] = own - waiting[waiting.len() - 1].entered;
        }
        leaf.heads = (waiting[..most].iter())
            .map(|request| {
                self.ids += 1;
                Head {
                    id: self.ids,
                    costs: request.costs.clone(),
                    permits: (request.permits != 1).then_some(request.permits),
                }
            })
            .collect();
        leaf.waiting = i64::try_from(waiting.len()).unwrap();
        let total = |unit: usize| waiting.iter().map(|request| request.costs[unit]).sum();
        leaf.totals = vec![total(0), total(1), total(2)];
        leaf.permits = Some(waiting.iter().map(|request| request.permits).sum());
        Some(leaf)
    }
}

//! Servers: what goes wrong with them besides their limits, and how long everything takes.
//!
//! What happens to an attempt depends on the seed, the request and the number of the attempt, never on how many
//! random numbers were drawn before: so clients that send in different orders meet the same server.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::Instant;
use tower::Service;

use super::{
    answers::{Manner, Paced, Quota, Refusal},
    draws::{Dice, whole_millis},
    limits::{Limit, Peculiar, Window, modulo},
};

/// A server and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) limit: Limit,
    pub(crate) trouble: Trouble,
    pub(crate) network: Network,
    pub(crate) work: Work,
    pub(crate) manner: Manner,
}

/// What else there is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// So many refusals within a time, and it refuses everything for a while.
    Bans {
        after: u32,
        within: Duration,
        lasts: Duration,
    },
    /// 503 for a while, again and again.
    Outages {
        every: Duration,
        lasts: Duration,
    },
    /// Others want so much of the limit, alone or several at a time. Who is refused comes again, up to five times.
    Strangers {
        percent: u32,
        at_a_time: u32,
    },
    /// It refuses so many attempts whatever they are.
    Random {
        percent: u32,
    },
    /// It refuses one in so many requests, as often as it is sent.
    Poisoned {
        one_in: u32,
    },
    /// Successes carry quota headers.
    Soft(Soft),
}

/// What quota headers on successes are about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Soft {
    /// The limit.
    Enforced,
    /// A quota of days, far from used up.
    Plenty { limit: u32, resets_in: Duration },
    /// Always nothing, though everything is served.
    NothingLeft { resets_in: Duration },
    /// Always little, though everything is served.
    Low { left: u32, resets_in: Duration },
    /// A fixed window that counts to nothing and refuses nobody.
    CountsDown { limit: u32, period: Duration },
}

/// How long an attempt is under way, there and back: each way as long as this, and up to the jitter longer.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) one_way: Duration,
    pub(crate) jitter: Duration,
}

/// How long it works on a request that it serves.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Always(Duration),
    /// From nothing to twice that.
    Uniform(Duration),
    Exponential(Duration),
    LogNormal(Duration),
    /// Ten times as long as the others.
    OneInTenIsSlow(Duration),
    /// The head comes after a quarter of the time, the rest is the body.
    InTheBody(Box<Self>),
}

impl Trouble {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::None => "no trouble",
            Self::Bans { .. } => "bans",
            Self::Outages { .. } => "outages",
            Self::Strangers { .. } => "strangers",
            Self::Random { .. } => "random rejection",
            Self::Poisoned { .. } => "poisoned requests",
            Self::Soft(Soft::Enforced) => "quota headers, true",
            Self::Soft(_) => "quota headers, idle",
        }
    }

    pub(crate) fn is_poisoned(&self, request: usize) -> bool {
        match self {
            Self::Poisoned { one_in } => {
                let one_in = usize::try_from(*one_in).expect("60 at most");
                request % one_in == one_in / 2
            }
            _ => false,
        }
    }
}

impl Network {
    fn draw(&self, dice: &mut Dice) -> Duration {
        whole_millis(self.one_way + self.jitter.mul_f64(dice.unit()))
    }
}

impl Work {
    pub(crate) fn in_the_body(self, it_is: bool) -> Self {
        if it_is {
            Self::InTheBody(Box::new(self))
        } else {
            self
        }
    }

    pub(crate) fn mean(&self) -> Duration {
        match self {
            Self::Always(mean) | Self::Uniform(mean) | Self::Exponential(mean) => *mean,
            Self::LogNormal(median) => median.mul_f64(1.6),
            Self::OneInTenIsSlow(usual) => usual.mul_f64(1.9),
            Self::InTheBody(work) => work.mean(),
        }
    }

    /// Until the head, and from there to the end of the body.
    fn draw(&self, dice: &mut Dice) -> (Duration, Duration) {
        let time = match self {
            Self::Always(time) => *time,
            Self::Uniform(mean) => mean.mul_f64(2.0 * dice.unit()),
            Self::Exponential(mean) => dice.exponential(*mean),
            Self::LogNormal(median) => dice.log_normal(*median),
            Self::OneInTenIsSlow(usual) => *usual * if dice.chance(10) { 10 } else { 1 },
            Self::InTheBody(work) => {
                let (time, _) = work.draw(dice);
                let head = whole_millis(time / 4);
                return (head, time - head);
            }
        };
        (whole_millis(time), Duration::ZERO)
    }
}

/// Which request an attempt is for: an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id(pub(crate) usize);

/// An attempt, when it was sent and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) sent: Duration,
    pub(crate) request: usize,
    /// From 1.
    pub(crate) attempt: u32,
    /// None while it is on its way.
    pub(crate) verdict: Option<Verdict>,
    /// When the server began to work on it, and when it was done, if it was served.
    pub(crate) work: Option<(Duration, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Served,
    Refused(By),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Window,
    AtOnce,
    Ban,
    Outage,
    Chance,
    Poison,
}

/// A server that runs: clones are the same one.
#[derive(Clone)]
pub(crate) struct Running {
    state: Arc<Mutex<State>>,
}

impl Running {
    pub(crate) fn new(seed: u64, server: &Server, requests: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(seed, server, requests))),
        }
    }

    /// Everything that was sent, in order.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.lock().visits.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Service<Request<B>> for Running {
    type Response = Response<Paced>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Id(id) = *request.extensions().get().expect("each request has one");
        let (visit, mut dice, network) = self.lock().sent(id);
        let server = self.clone();
        Box::pin(async move {
            tokio::time::sleep(network.draw(&mut dice)).await;
            let back = network.draw(&mut dice);
            let (answer, after) = server.lock().arrived(visit, &mut dice, back);
            tokio::time::sleep(after + back).await;
            Ok(answer)
        })
    }
}

struct State {
    seed: u64,
    server: Server,
    start: Instant,
    visits: Vec<Visit>,
    attempts: Vec<u32>,
    /// How often each request was rejected at random.
    rejected: Vec<u32>,
    window: Window,
    /// When those who are at work will be done.
    at_work: Vec<Duration>,
    /// Refusals that may lead to a ban.
    refusals: VecDeque<Duration>,
    banned_until: Duration,
    /// When strangers come, and whether for the first time or again.
    strangers: BinaryHeap<Reverse<(Duration, u32)>>,
    /// For when they come, and for all else: so they come at the same times to all clients.
    arrivals: Dice,
    strangers_dice: Dice,
    /// How many were served, for quotas that nobody enforces.
    served: u32,
}

impl State {
    fn new(seed: u64, server: &Server, requests: usize) -> Self {
        let mut dice = Dice::new(seed, 1);
        let offset = match server.limit.window() {
            Some((_, period)) => whole_millis(period.mul_f64(dice.unit())),
            None => Duration::ZERO,
        };
        Self {
            seed,
            server: server.clone(),
            start: Instant::now(),
            visits: Vec::new(),
            attempts: vec![0; requests],
            rejected: vec![0; requests],
            window: Window::new(&server.limit, offset),
            at_work: Vec::new(),
            refusals: VecDeque::new(),
            banned_until: Duration::ZERO,
            strangers: BinaryHeap::from([Reverse((Duration::ZERO, 1))]),
            arrivals: Dice::new(seed, 2),
            strangers_dice: Dice::new(seed, 3),
            served: 0,
        }
    }

    /// An attempt leaves the client: its visit, what is random about it, and its way.
    fn sent(&mut self, request: usize) -> (usize, Dice, Network) {
        let attempt = &mut self.attempts[request];
        *attempt += 1;
        let purpose = 0x1000 + u64::from(*attempt) * 0x10_0000 + request as u64;
        let dice = Dice::new(self.seed, purpose);
        self.visits.push(Visit {
            sent: self.start.elapsed(),
            request,
            attempt: *attempt,
            verdict: None,
            work: None,
        });
        (self.visits.len() - 1, dice, self.server.network.clone())
    }

    /// An attempt arrives: the answer, and how long until its head leaves. The body's end takes the way
    /// `back` too.
    fn arrived(
        &mut self,
        visit: usize,
        dice: &mut Dice,
        back: Duration,
    ) -> (Response<Paced>, Duration) {
        let now = self.start.elapsed();
        let request = self.visits[visit].request;
        let (head, body) = self.server.work.draw(dice);
        self.let_strangers_in(now);
        let refused = self.judge(now, request, dice);
        self.visits[visit].verdict = Some(match refused {
            None => Verdict::Served,
            Some((by, _)) => Verdict::Refused(by),
        });
        let manner = self.server.manner.clone();
        if let Some((by, wait)) = refused {
            let sent = now + manner.refuses_after;
            let refusal = Refusal {
                by,
                wait,
                period: self.server.limit.window().map(|(_, period)| period),
                at_once: self.server.limit.at_once(),
                quota: self.window.quota(now),
            };
            return (manner.refuse(&refusal, sent), manner.refuses_after);
        }
        self.served += 1;
        self.at_work.push(now + head + body);
        self.visits[visit].work = Some((now, now + head + body));
        // What is left is known when it is counted; the reset is told as of when the head leaves.
        let quota = self.headers_of_success(now).map(|quota| Quota {
            resets_in: quota.resets_in.saturating_sub(head),
            ..quota
        });
        let at_once = self.server.limit.at_once().filter(|_| manner.on_success);
        let at_once = at_once.map(|at_once| (self.at_work.len(), at_once));
        let end = (body > Duration::ZERO).then(|| self.start + now + head + body + back);
        (manner.serve(quota, at_once, now + head, end), head)
    }

    /// Who refuses it, and for how long yet, if anybody knows.
    fn judge(
        &mut self,
        now: Duration,
        request: usize,
        dice: &mut Dice,
    ) -> Option<(By, Option<Duration>)> {
        let peculiar = Peculiar {
            cost: Dice::new(self.seed, 0x5000_0000_0000 + request as u64).between(1, 4),
            luck: dice.unit(),
        };
        let unlucky = self.rejected[request] < self.rejections(request);
        if let Some(left) = self.outage(now) {
            return Some((By::Outage, Some(left)));
        }
        if now < self.banned_until {
            return Some((By::Ban, Some(self.banned_until - now)));
        }
        if self.server.trouble.is_poisoned(request) {
            return Some((By::Poison, None));
        }
        if unlucky {
            self.rejected[request] += 1;
            return Some((By::Chance, None));
        }
        let refused = self.limit(now, peculiar);
        if refused.is_some() {
            self.ban(now);
        }
        refused
    }

    /// How often a request is rejected at random, whoever sends it: what is refused for another reason has had its
    /// luck already, and keeps it.
    fn rejections(&self, request: usize) -> u32 {
        let Trouble::Random { percent } = self.server.trouble else {
            return 0;
        };
        let mut dice = Dice::new(self.seed, 0x6000_0000_0000 + request as u64);
        let mut rejections = 0;
        while dice.chance(percent) {
            rejections += 1;
        }
        rejections
    }

    fn limit(&mut self, now: Duration, peculiar: Peculiar) -> Option<(By, Option<Duration>)> {
        self.at_work.retain(|&until| until > now);
        let at_once = self.server.limit.at_once();
        if at_once.is_some_and(|at_once| self.at_work.len() >= at_once) {
            return Some((By::AtOnce, None));
        }
        let wait = self.window.take(now, peculiar)?;
        Some((By::Window, Some(wait)))
    }

    fn outage(&self, now: Duration) -> Option<Duration> {
        let Trouble::Outages { every, lasts } = self.server.trouble else {
            return None;
        };
        // The first comes after half the time between them.
        let round = every + lasts;
        let into = modulo(now + round - every / 2, round);
        (into < lasts && now >= every / 2).then(|| lasts - into)
    }

    fn ban(&mut self, now: Duration) {
        let Trouble::Bans {
            after,
            within,
            lasts,
        } = self.server.trouble
        else {
            return;
        };
        self.refusals.push_back(now);
        while self.refusals.front().is_some_and(|&at| at + within <= now) {
            self.refusals.pop_front();
        }
        if self.refusals.len() >= usize::try_from(after).expect("20 at most") {
            self.refusals.clear();
            self.banned_until = now + lasts;
        }
    }

    fn let_strangers_in(&mut self, now: Duration) {
        let Trouble::Strangers { percent, at_a_time } = self.server.trouble else {
            return;
        };
        let capacity = self.server.limit.capacity(self.server.work.mean());
        let rate = capacity.expect("they share a limit") * f64::from(percent) / 100.0;
        let gap = Duration::from_secs_f64(f64::from(at_a_time) / rate);
        while let Some(&Reverse((at, time))) = self.strangers.peek() {
            if at > now {
                break;
            }
            self.strangers.pop();
            let newcomers = if time == 1 { at_a_time } else { 1 };
            for _ in 0..newcomers {
                let dice = &mut self.strangers_dice;
                let (head, body) = self.server.work.draw(dice);
                let (again, luck) = (dice.exponential(Duration::from_millis(500)), dice.unit());
                match self.limit(at, Peculiar { cost: 1, luck }) {
                    None => self.at_work.push(at + head + body),
                    Some((_, wait)) if time < 5 => {
                        let wait = wait.unwrap_or(Duration::from_millis(500));
                        self.strangers.push(Reverse((at + wait + again, time + 1)));
                    }
                    Some(_) => {}
                }
            }
            if time == 1 {
                let next = at + self.arrivals.exponential(gap);
                self.strangers.push(Reverse((next, 1)));
            }
        }
    }

    fn headers_of_success(&self, now: Duration) -> Option<Quota> {
        match self.server.trouble {
            Trouble::Soft(Soft::Plenty { limit, resets_in }) => Some(Quota {
                limit,
                left: limit.saturating_sub(self.served).max(limit / 5),
                resets_in: resets_in.saturating_sub(now),
                period: None,
            }),
            Trouble::Soft(Soft::NothingLeft { resets_in }) => Some(Quota {
                limit: 100,
                left: 0,
                resets_in: resets_in - modulo(now, resets_in),
                period: None,
            }),
            Trouble::Soft(Soft::Low { left, resets_in }) => Some(Quota {
                limit: 100,
                left,
                resets_in,
                period: None,
            }),
            Trouble::Soft(Soft::CountsDown { limit, period }) => Some(Quota {
                limit,
                left: limit.saturating_sub(self.served_within(now, period)),
                resets_in: period - modulo(now, period),
                period: Some(period),
            }),
            _ if self.server.manner.on_success => self.window.quota(now),
            _ => None,
        }
    }

    /// Since the last multiple of `period`.
    fn served_within(&self, now: Duration, period: Duration) -> u32 {
        let since = now - modulo(now, period);
        let served = self
            .visits
            .iter()
            .rev()
            .take_while(|visit| visit.sent >= since)
            .filter(|visit| visit.verdict == Some(Verdict::Served));
        u32::try_from(served.count()).expect("few")
    }
}

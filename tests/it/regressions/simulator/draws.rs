//! What is drawn from a seed: a server, how it answers, the network, and the load.
//!
//! The kinds of a draw are not random but dealt: see [`Draw::new`]. Everything within a kind is random.

use std::time::Duration;

use super::{
    answers::{Amount, Dialect, Form, Manner, Words},
    limits::{Limit, Shape},
    servers::{Network, Server, Soft, Trouble, Work},
};

/// How many kinds of draw there are: limits by troubles. After so many seeds, each has come once.
const KINDS: u64 = 56;

/// One server and one load.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    pub(crate) server: Server,
    pub(crate) load: Load,
    pub(crate) requests: usize,
    pub(crate) configured: Configured,
}

/// When callers send.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// So many callers; each takes the next request when its last one has been answered.
    Callers(usize),
    /// Requests come whether or not earlier ones have been answered, after each of these gaps in turn.
    Arrivals(Vec<Duration>),
}

/// What the clients that learn and do not learn are told of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Configured {
    Nothing,
    /// The limit as it is published: without a margin for the network.
    Published,
    /// Of two limits only the window.
    OnlyWindow,
    /// Of two limits only how many at once.
    OnlyAtOnce,
    /// The limit, so many times in percent.
    TooHigh(u32),
}

impl Draw {
    /// The draw of a seed. Limits take turns with each seed and troubles with every seventh, so that each limit
    /// has a seventh of all draws. Two of eight turns are without trouble, which is how most servers are.
    /// Every other draw of a limit, and every other one of a trouble, has refusals that name a delay.
    pub(crate) fn new(seed: u64) -> Self {
        let (round, kind) = (seed / KINDS, seed % KINDS);
        let (limit, trouble) = (kind % 7, kind / 7);
        let named = (limit + trouble + round) % 2 == 0;
        let mut dice = Dice::new(seed, 0);

        let period = dice.period();
        let n = dice.log_uniform(2, 200);
        let work = dice.work();
        let at_once = usize::try_from(dice.log_uniform(1, 32)).expect("32 at most");
        let limit = match limit {
            0 => Limit::Sliding {
                n,
                period,
                counts_refused: n >= 20 && dice.chance(15),
            },
            1 => Limit::Fixed { n, period },
            2 => Limit::Tokens { n, period },
            3 => Limit::AtOnce(at_once),
            4 => Limit::Both { n, period, at_once },
            5 => Limit::Unknown {
                n,
                period,
                shape: dice.one_of(&[
                    Shape::AndShorter,
                    Shape::Spaced,
                    Shape::ByLoad,
                    Shape::Changes,
                    Shape::Weighted,
                ]),
            },
            _ => Limit::None,
        };
        let trouble = match trouble {
            1 if limit != Limit::None => Trouble::Bans {
                after: dice.between(3, 20),
                within: dice.seconds(5, 60),
                lasts: dice.seconds(5, 60),
            },
            2 => Trouble::Outages {
                every: dice.seconds(20, 200),
                lasts: dice.seconds(2, 40),
            },
            3 if limit != Limit::None => Trouble::Strangers {
                percent: dice.between(10, 80),
                at_a_time: if dice.chance(50) {
                    1
                } else {
                    dice.between(2, 20)
                },
            },
            4 => Trouble::Random {
                percent: dice.between(10, 90),
            },
            5 => Trouble::Poisoned {
                one_in: dice.between(10, 60),
            },
            6 => Trouble::Soft(dice.soft(&limit)),
            _ => Trouble::None,
        };
        let network = dice.network();
        let manner = dice.manner(&limit, &trouble, named);
        let capacity = limit.capacity(work.mean());
        let requests = dice.requests(capacity, &limit, &trouble);
        let load = dice.load(capacity, work.mean() + network.one_way * 2, requests);
        let configured = dice.configured(&limit);
        Self {
            seed,
            server: Server {
                limit,
                trouble,
                network,
                work,
                manner,
            },
            load,
            requests,
            configured,
        }
    }

    /// All but the server, in a line.
    pub(crate) fn describe(&self) -> String {
        let load = match &self.load {
            Load::Callers(callers) => format!("from {callers} callers"),
            Load::Arrivals(gaps) => {
                let last: Duration = gaps.iter().sum();
                format!("that arrive within {:.1} s", last.as_secs_f64())
            }
        };
        format!(
            "{} requests {load}; configured: {:?}",
            self.requests, self.configured
        )
    }
}

/// Random numbers of one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    /// The same numbers for the same seed and purpose.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        // The generator's first numbers are alike where its seeds are.
        let mixed = (seed ^ purpose.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = fastrand::Rng::with_seed(mixed ^ (mixed >> 29));
        rng.u64(..);
        Self(rng)
    }

    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        self.0.u32(low..=high)
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.between(1, 100) <= percent
    }

    pub(crate) fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Exponentially distributed, with that mean: the gaps of a Poisson process.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }

    /// Near the middle, with a long tail upwards: a median, and a third of all beyond 1.5 times it.
    pub(crate) fn log_normal(&mut self, median: Duration) -> Duration {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median.mul_f64(normal.exp().min(20.0))
    }

    pub(crate) fn millis(&mut self, low: u32, high: u32) -> Duration {
        Duration::from_millis(self.between(low, high).into())
    }

    fn seconds(&mut self, low: u32, high: u32) -> Duration {
        Duration::from_secs(self.log_uniform(low, high).into())
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())].clone()
    }

    /// As often between 2 and 20 as between 20 and 200.
    fn log_uniform(&mut self, low: u32, high: u32) -> u32 {
        let (low, high) = (f64::from(low), f64::from(high) + 1.0);
        let drawn = low * (high / low).powf(self.unit());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "meant"
        )]
        let whole = drawn as u32;
        whole
    }

    /// A second and a minute are what most APIs have.
    fn period(&mut self) -> Duration {
        Duration::from_secs(self.one_of(&[1, 1, 1, 2, 5, 10, 15, 30, 60, 60, 60]))
    }

    fn work(&mut self) -> Work {
        let mean = Duration::from_millis(self.log_uniform(10, 3000).into());
        let work = match self.between(0, 4) {
            0 => Work::Always(mean),
            1 => Work::Uniform(mean),
            2 => Work::Exponential(mean),
            3 => Work::LogNormal(mean),
            _ => Work::OneInTenIsSlow(mean),
        };
        work.in_the_body(self.chance(25))
    }

    fn network(&mut self) -> Network {
        let one_way = self.millis(0, 80);
        let jitter = if self.chance(50) {
            Duration::ZERO
        } else {
            Duration::from_millis(self.log_uniform(2, 200).into())
        };
        Network { one_way, jitter }
    }

    fn soft(&mut self, limit: &Limit) -> Soft {
        if limit.window().is_some() && self.chance(34) {
            return Soft::Enforced;
        }
        match self.between(0, 3) {
            0 => Soft::Plenty {
                limit: self.log_uniform(500, 10_000),
                resets_in: Duration::from_secs(self.log_uniform(3600, 1_036_800).into()),
            },
            1 => Soft::NothingLeft {
                resets_in: self.seconds(30, 86_400),
            },
            2 => Soft::Low {
                left: self.between(1, 5),
                resets_in: self.seconds(1, 60),
            },
            _ => Soft::CountsDown {
                limit: self.between(20, 100),
                period: self.seconds(10, 120),
            },
        }
    }

    fn manner(&mut self, limit: &Limit, trouble: &Trouble, named: bool) -> Manner {
        let status = match self.between(1, 100) {
            1..=72 => 429,
            73..=87 => 503,
            88..=91 => 529,
            92..=95 => 403,
            96..=98 => 420,
            _ => 509,
        };
        let dialect = self.one_of(&[
            Dialect::XEpoch,
            Dialect::XDelta,
            Dialect::Numbers,
            Dialect::Draft,
            Dialect::Durations,
        ]);
        let form = self.one_of(&[
            Form::Seconds,
            Form::Seconds,
            Form::Seconds,
            Form::Seconds,
            Form::Date,
            Form::Millis,
            Form::QuotaHeaders,
            Form::QuotaHeaders,
            Form::QuotaHeaders,
            Form::BodyNumber,
            Form::BodyWords,
            Form::BodyRetryInfo,
        ]);
        let seconds = Duration::from_secs;
        let amount = match self.between(1, 100) {
            1..=55 => Amount::UntilThereIsRoom,
            56..=75 => Amount::ThePeriod,
            // What refuses at random would keep everyone for days with a long one.
            _ if matches!(trouble, Trouble::Random { .. }) => {
                Amount::Always(seconds(self.one_of(&[1, 2, 5])))
            }
            _ => Amount::Always(seconds(self.one_of(&[1, 5, 10, 30, 60, 60, 60]))),
        };
        let at_once = limit.at_once().is_some();
        let words = if at_once && self.chance(50) {
            Words::AtOnce
        } else {
            self.one_of(&[Words::None, Words::Text, Words::Json])
        };
        Manner {
            status,
            form: named.then_some(form),
            amount,
            dialect,
            words,
            names_limit: self.chance(30),
            on_success: matches!(trouble, Trouble::Soft(Soft::Enforced)) || self.chance(25),
            refuses_after: self.millis(0, 20),
        }
    }

    /// Enough for several periods, or for many rounds of those who may be at work at once.
    fn requests(&mut self, capacity: Option<f64>, limit: &Limit, trouble: &Trouble) -> usize {
        let wanted = match (limit.window(), limit.at_once(), capacity) {
            (Some((n, period)), _, Some(capacity)) => {
                let periods = f64::from(self.between(5, 12));
                (capacity * period.as_secs_f64() * periods).max(f64::from(n) / 2.0)
            }
            (_, Some(at_once), _) => {
                f64::from(u32::try_from(at_once).expect("32 at most") * self.between(10, 40))
            }
            _ => f64::from(self.log_uniform(60, 600)),
        };
        let most = if matches!(trouble, Trouble::Random { .. }) {
            150.0
        } else {
            1200.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 200 at most"
        )]
        let requests = wanted.clamp(40.0, most) as usize;
        requests
    }

    fn load(&mut self, capacity: Option<f64>, round_trip: Duration, requests: usize) -> Load {
        if self.chance(60) {
            let callers = match capacity {
                // A third of what the server can do, up to thirty times as much, if each is answered in so long.
                Some(capacity) if self.chance(50) => {
                    let times = f64::from(self.log_uniform(10, 1000)) / 30.0;
                    (capacity * round_trip.as_secs_f64() * times).ceil()
                }
                _ => self.one_of(&[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]),
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "200 at most"
            )]
            let callers = callers.clamp(1.0, 200.0) as usize;
            return Load::Callers(callers.min(requests));
        }
        // Of what the server can do; where it can do anything, a request in 1 to 100 ms.
        let load = 0.4 + 1.6 * self.unit();
        let mean = match capacity {
            Some(capacity) => Duration::from_secs_f64(1.0 / (capacity * load)),
            None => self.millis(1, 100),
        };
        let at_a_time = if self.chance(40) {
            self.log_uniform(2, 50)
        } else {
            1
        };
        let even = self.chance(40);
        let mut gaps = Vec::new();
        for request in 0..requests {
            let first = request % usize::try_from(at_a_time).expect("50 at most") == 0;
            let gap = match (first, even) {
                (false, _) => Duration::ZERO,
                (true, true) => mean * at_a_time,
                (true, false) => self.exponential(mean * at_a_time),
            };
            gaps.push(whole_millis(gap));
        }
        Load::Arrivals(gaps)
    }

    fn configured(&mut self, limit: &Limit) -> Configured {
        let both = limit.window().is_some() && limit.at_once().is_some();
        match self.between(1, 8) {
            1..=4 => Configured::Nothing,
            _ if *limit == Limit::None => Configured::Nothing,
            6 if both => self.one_of(&[Configured::OnlyWindow, Configured::OnlyAtOnce]),
            5 | 6 => Configured::Published,
            _ => Configured::TooHigh(self.one_of(&[120, 150, 200, 300, 500])),
        }
    }
}

/// tokio's timers have whole milliseconds, so that everything else may as well.
pub(crate) fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).expect("less than an age"))
}

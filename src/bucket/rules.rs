use super::{
    demand::Demand,
    learning::Learning,
    tick::{Span, Tick},
};
use crate::{
    costs::Unit,
    quota::{Quota, Window},
};

/// So many may be in flight at first: of a crowd before a server that takes few, no more than these are refused at
/// once. [`Learning::discover`](crate::Learning::discover) says where the figure comes from.
pub(super) const AT_FIRST: u32 = 16;

/// A quota as a bucket applies it: what the engine's face leaves switched on, margins included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    windows: Box<[Rule]>,
    /// What it counts besides requests.
    units: Box<[UnitRules]>,
    grace: Span,
    depth: usize,
    concurrency: Option<usize>,
    at_first: Option<usize>,
    release_at_head: bool,
    learning: Learning,
    /// Whether it may suspect a limit of which a refusal says nothing.
    suspects: bool,
    /// Whether the bucket stamps its dispatches: for its windows, or to learn one.
    keeps_log: bool,
}

/// At most `n` dispatches in any half-open interval of length `span`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) n: u32,
    /// The period with the configured margin.
    pub(crate) span: Span,
    pub(crate) period: Span,
    /// Whether stamps that were not kept count. What was learned begins with what can be seen.
    pub(crate) counts_forgotten: bool,
    /// When the rule ends.
    pub(crate) until: Tick,
}

impl Rule {
    /// As configured: for ever.
    pub(crate) fn new(n: u32, period: Span, margin: Span) -> Self {
        Self {
            n,
            span: period.plus(margin),
            period,
            counts_forgotten: true,
            until: Tick::NEVER,
        }
    }

    /// When there is room again after a full window that began with `stamp`.
    pub(crate) fn opens(self, stamp: Tick) -> Tick {
        stamp.after(self.span).min(self.until)
    }
}

/// What is counted of one unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnitRules {
    pub(crate) unit: Unit,
    pub(crate) windows: Box<[UnitRule]>,
    /// Whether refusals teach a margin of it: at any scope, as they name the unit.
    pub(crate) learns: bool,
}

/// What the dispatches of any half-open interval of length `span` take is at most `n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct UnitRule {
    pub(crate) n: u64,
    /// The period with the configured margin.
    pub(crate) span: Span,
}

impl UnitRules {
    fn of(quota: &Quota, margin: Span, learns: bool) -> Box<[Self]> {
        let mut all: Vec<Self> = Vec::new();
        for window in quota.windows() {
            let unit = window.unit();
            if unit.is_requests() || all.iter().any(|rules| rules.unit == unit) {
                continue;
            }
            let same = quota.windows().filter(|other| other.unit() == unit);
            let rule = |window: Window| UnitRule {
                n: window.n(),
                span: Span::from(window.period()).plus(margin),
            };
            all.push(Self {
                unit,
                windows: same.map(rule).collect(),
                learns,
            });
        }
        all.into()
    }

    /// The smallest of the windows: what takes more can never go.
    pub(crate) fn least(&self) -> u64 {
        self.windows.iter().map(|rule| rule.n).min().unwrap_or(0)
    }

    /// The largest of the windows.
    pub(crate) fn most(&self) -> u64 {
        self.windows.iter().map(|rule| rule.n).max().unwrap_or(0)
    }

    /// What has to be kept: for how long, and how much whatever its age.
    pub(crate) fn kept(&self) -> (Span, u64) {
        (self.longest(), self.most())
    }

    /// For how long what was counted can matter.
    pub(crate) fn longest(&self) -> Span {
        let spans = self.windows.iter().map(|rule| rule.span);
        spans.max().unwrap_or(Span::ZERO)
    }
}

/// Which of a quota's two kinds of limit an engine enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enforced {
    pub(crate) windows: bool,
    pub(crate) permits: bool,
}

impl Rules {
    /// `learns` is whether the bucket learns from any refusal, as an endpoint's or a group's does. The others
    /// learn what an answer says about everything, as far as that needs no log.
    pub(crate) fn new(quota: &Quota, face: Enforced, learning: Learning, learns: bool) -> Self {
        let margin = Span::from(quota.window_margin());
        let learns_units = learning.margin && face.windows;
        let windows: Box<[_]> = quota
            .windows()
            .filter(|_| face.windows)
            .filter_map(|window| {
                let n = window.requests()?;
                Some(Rule::new(n, window.period().into(), margin))
            })
            .collect();
        // A layer learns nothing that it does not enforce, or cannot see for want of a log or of permits.
        let learning = Learning {
            concurrency: learning.concurrency && face.permits,
            margin: learning.margin && learns && face.windows,
            rate: learning.rate && learns && face.windows,
            quota_headers: learning.quota_headers,
            discover: learning.discover && learns && face.permits && !quota.limits(),
        };
        let concurrency = quota.concurrency_limit().filter(|_| face.permits);
        let units = if face.windows {
            UnitRules::of(quota, margin, learns_units)
        } else {
            Box::default()
        };
        let grace = if face.permits {
            quota.grace_time().into()
        } else {
            Span::ZERO
        };
        Self {
            units,
            grace,
            concurrency,
            at_first: concurrency.or(learning.discover.then_some(AT_FIRST as usize)),
            release_at_head: quota.releases_at_head(),
            keeps_log: !windows.is_empty()
                || learning.rate
                || learning.quota_headers && learns && face.windows,
            depth: (windows.iter().map(|rule| rule.n as usize))
                .max()
                .unwrap_or(0),
            windows,
            learning,
            suspects: learns,
        }
    }

    /// What a whole limit counts as, in shares.
    pub(crate) const WHOLE: u64 = 1 << 32;

    /// Whether anything is limited.
    pub(crate) fn limits(&self) -> bool {
        !self.windows.is_empty() || !self.units.is_empty() || self.concurrency.is_some()
    }

    /// How much of the tightest limit a request takes; nothing if there is none.
    pub(crate) fn share(&self, demand: &Demand) -> Option<u64> {
        let share = |taken: u64, n: u64| {
            let whole = u128::from(Self::WHOLE);
            let part = (u128::from(taken) * whole).div_ceil(u128::from(n.max(1)));
            u64::try_from(part.min(whole)).unwrap_or(Self::WHOLE)
        };
        let windows = self.windows.iter();
        let windows = windows.map(|rule| share(demand.requests.into(), rule.n.into()));
        let permits = self
            .concurrency
            .map(|n| share(demand.permits.into(), n as u64));
        let units = self.units.iter();
        let units = units.map(|rules| share(demand.of(rules.unit), rules.least()));
        windows.chain(permits).chain(units).max()
    }

    pub(crate) fn windows(&self) -> &[Rule] {
        &self.windows
    }

    /// What it counts besides requests.
    pub(crate) fn units(&self) -> &[UnitRules] {
        &self.units
    }

    pub(crate) fn unit(&self, unit: Unit) -> Option<&UnitRules> {
        let mut units = self.units.iter();
        units.find(|rules| rules.unit.is_called_as(&unit))
    }

    /// Whether a request takes more than is configured: it can never go.
    pub(crate) fn can_never_hold(&self, demand: &Demand) -> bool {
        let permits = demand.permits as usize;
        self.concurrency.is_some_and(|limit| limit < permits)
            || self.windows.iter().any(|rule| rule.n < demand.requests)
            || (self.units.iter()).any(|rules| rules.least() < demand.of(rules.unit))
    }

    /// For how long the permit of an abandoned request is kept.
    pub(crate) fn grace(&self) -> Span {
        self.grace
    }

    /// The window that opens first.
    pub(crate) fn tightest(&self) -> Option<&Rule> {
        self.windows.iter().min_by_key(|rule| rule.span)
    }

    pub(crate) fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// How many may be in flight while nothing is learned: as configured, or as discovery begins.
    pub(crate) fn at_first(&self) -> Option<usize> {
        self.at_first
    }

    pub(crate) fn releases_at_head(&self) -> bool {
        self.release_at_head
    }

    pub(crate) fn learning(&self) -> Learning {
        self.learning
    }

    pub(crate) fn suspects(&self) -> bool {
        self.suspects
    }

    pub(crate) fn keeps_log(&self) -> bool {
        self.keeps_log
    }

    /// How many of a bucket's latest stamps matter.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// For how long a stamp can matter.
    pub(crate) fn longest(&self) -> Span {
        let requests = self.windows.iter().map(|rule| rule.span);
        let units = self.units.iter().map(UnitRules::longest);
        requests.chain(units).max().unwrap_or(Span::ZERO)
    }
}

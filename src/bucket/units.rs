//! What a bucket counts besides requests.

use super::{
    account::{Account, Held, Said},
    demand::Demand,
    gate::Gate,
    rules::{Rules, UnitRules},
    state::Bucket,
    tick::{Span, Tick},
};
use crate::costs::Unit;

impl Bucket {
    pub(super) fn accounts(&self) -> &[Account] {
        self.accounts.as_deref().map_or(&[], |all| &all.0)
    }

    pub(super) fn account(&self, unit: Unit) -> Option<&Account> {
        let mut accounts = self.accounts().iter();
        accounts.find(|account| account.unit.is_called_as(&unit))
    }

    pub(super) fn account_mut(&mut self, unit: Unit) -> &mut Account {
        let accounts = &mut self.accounts.get_or_insert_default().0;
        let known = |account: &Account| account.unit.is_called_as(&unit);
        let place = accounts.iter().position(known).unwrap_or_else(|| {
            accounts.push(Account::new(unit));
            accounts.len() - 1
        });
        &mut accounts[place]
    }

    /// What requests count as besides one each: some were stated to count as several.
    pub(super) fn surplus(&self) -> Option<&Account> {
        self.account(Unit::REQUESTS)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn take_surplus(&mut self, n: u32) {
        self.account_mut(Unit::REQUESTS).places += u128::from(n);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn give_back_surplus(&mut self, n: u32) {
        self.account_mut(Unit::REQUESTS).places -= u128::from(n);
    }

    pub(super) fn stamp_surplus(&mut self, rules: &Rules, n: u32, now: Tick) {
        if n == 0 {
            return;
        }
        self.give_back_surplus(n);
        if rules.windows().is_empty() {
            return;
        }
        // The request's own stamp may be raised.
        let now = self.log.last().unwrap_or(now).max(now);
        let kept = (rules.longest(), rules.depth() as u64);
        let _ = self.account_mut(Unit::REQUESTS).log(kept, n.into(), now);
    }

    /// What is left of a gate when everything is counted that is no request.
    #[inline]
    pub(super) fn gate_of_units(
        &self,
        gate: Gate,
        rules: &Rules,
        demand: &Demand,
        now: Tick,
    ) -> Gate {
        let mut opens = match gate {
            Gate::Closed => return Gate::Closed,
            Gate::Until(opens) => opens,
            Gate::Open => now,
        };
        for rules in rules.units() {
            let Some(account) = self.account(rules.unit) else {
                continue;
            };
            let amount = demand.of(rules.unit);
            for (window, &rule) in rules.windows.iter().enumerate() {
                match account.gate(window, rule, amount, now) {
                    Gate::Open => {}
                    Gate::Until(tick) => opens = opens.max(tick),
                    Gate::Closed => return Gate::Closed,
                }
            }
        }
        if opens <= now {
            Gate::Open
        } else {
            Gate::Until(opens)
        }
    }

    /// Takes a place of a unit, if that is counted here.
    pub(crate) fn take_units(&mut self, rules: &Rules, unit: Unit, amount: u64) -> Held {
        if rules.unit(unit).is_none() {
            return Held::Nothing;
        }
        let account = self.account_mut(unit);
        account.places = account.places.saturating_add(amount.into());
        Held::Place
    }

    /// What a request takes of a unit becomes another amount.
    pub(crate) fn change_units(&mut self, unit: Unit, held: Held, before: u64, after: u64) {
        if held != Held::Nothing {
            self.account_mut(unit).change(held, before, after);
        }
    }

    /// The request has gone out, at `now` or a little before.
    pub(crate) fn stamp_units(
        &mut self,
        rules: &Rules,
        unit: Unit,
        held: Held,
        amount: u64,
        now: Tick,
    ) -> Held {
        self.change_units(unit, held, amount, 0);
        match rules.unit(unit) {
            None => Held::Nothing,
            Some(rules) if rules.unit.is_at_end() => {
                let account = self.account_mut(unit);
                account.open = account.open.saturating_add(amount.into());
                Held::Open
            }
            Some(rules) => self.account_mut(unit).log(rules.kept(), amount, now),
        }
    }

    /// What a request takes is settled. Where the server counts at the answer's end, that counts from `now` on;
    /// what was counted at dispatch keeps its time.
    pub(crate) fn settle_units(
        &mut self,
        rules: &Rules,
        unit: Unit,
        held: Held,
        (before, after): (u64, u64),
        now: Tick,
    ) -> Held {
        let rules = rules.unit(unit);
        let is_at_end = rules.is_some_and(|rules| rules.unit.is_at_end());
        match (rules, held) {
            (Some(rules), Held::Open | Held::Logged(_)) if is_at_end || held == Held::Open => {
                self.change_units(unit, held, before, 0);
                self.account_mut(unit).log(rules.kept(), after, now)
            }
            (None, Held::Open) => {
                self.change_units(unit, held, before, 0);
                Held::Nothing
            }
            _ => {
                self.change_units(unit, held, before, after);
                held
            }
        }
    }

    /// What requests to this endpoint take of a unit on average, as far as that is known.
    pub(crate) fn average(&self, unit: Unit) -> Option<u64> {
        self.account(unit)?.average.get()
    }

    /// A success took this much.
    ///
    /// Instead of what it was said to take `before`, if it was.
    pub(crate) fn note_cost(&mut self, unit: Unit, before: Option<u64>, amount: u64, now: Tick) {
        let average = &mut self.account_mut(unit).average;
        match before {
            Some(before) => average.correct(before, amount, now),
            None => average.add(amount, now),
        }
    }

    /// The server refused a request because of a unit: some estimate was too low. `number` is the request's, and
    /// that of the last one admitted.
    pub(crate) fn refused_for(&mut self, unit: Unit, number: (u64, u64), now: Tick) {
        self.account_mut(unit).headroom.refused(number, now);
    }

    /// The server says how much is left of a unit. If that is less than by our own count, others take the rest, or the
    /// server allows less: until `reset` at most.
    pub(crate) fn said_left(
        &mut self,
        unit: Unit,
        rules: &Rules,
        (left, limit): (u64, Option<u64>),
        reset: Option<Span>,
        now: Tick,
    ) {
        let Some(rules) = rules.unit(unit) else {
            return;
        };
        let windows = rules.windows.iter().enumerate();
        let named = windows.clone().find(|(_, rule)| Some(rule.n) == limit);
        let shortest = || windows.min_by_key(|(_, rule)| rule.span);
        let Some((window, &rule)) = named.or_else(shortest) else {
            return;
        };
        let account = self.account_mut(unit);
        let (logged, _) = account.log.after(now.before(rule.span));
        let ours = logged
            .saturating_add(account.places)
            .saturating_add(account.open);
        let theirs = u128::from(rule.n)
            .saturating_sub(ours)
            .saturating_sub(left.into());
        let taken = u64::try_from(theirs).unwrap_or(u64::MAX);
        let until = now.after(reset.map_or(rule.span, |reset| reset.min(rule.span)));
        account.said = (taken > 0).then_some(Said {
            window,
            taken,
            until,
        });
    }

    /// How full the windows of one unit are: what is used of each, and until when the oldest of that counts.
    pub(crate) fn used_units(
        &self,
        rules: &UnitRules,
        now: Tick,
    ) -> impl Iterator<Item = (u64, Option<Tick>)> {
        let account = self.account(rules.unit);
        rules.windows.iter().enumerate().map(move |(window, rule)| {
            let Some(account) = account else {
                return (0, None);
            };
            let (logged, oldest) = account.log.after(now.before(rule.span));
            let said = account
                .said
                .filter(|said| said.window == window && said.until > now);
            let theirs = said.map_or(0, |said| said.taken.into());
            let used = logged + account.places + account.open + theirs;
            let oldest = oldest.filter(|_| logged > 0);
            let until = oldest.map(|oldest| oldest.after(rule.span));
            (u64::try_from(used).unwrap_or(u64::MAX), until)
        })
    }

    /// How full the windows of requests are.
    pub(crate) fn used_requests(
        &self,
        rules: &Rules,
        now: Tick,
    ) -> impl Iterator<Item = (u64, Option<Tick>)> {
        rules.windows().iter().map(move |rule| {
            let since = now.before(rule.span);
            let (used, oldest) = self.log.after(since);
            let surplus = self
                .surplus()
                .map_or(0, |of| of.places() + of.logged_after(since));
            let used = u128::from(used).saturating_add(surplus);
            (
                u64::try_from(used).unwrap_or(u64::MAX),
                oldest.map(|oldest| oldest.after(rule.span)),
            )
        })
    }

    /// How much of each window of a unit is left free because estimates were too low, in thousandths.
    pub(crate) fn headroom(&self, unit: Unit, now: Tick) -> u32 {
        self.account(unit)
            .map_or(0, |account| account.headroom.at(now))
    }
}

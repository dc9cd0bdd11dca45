//! Whose turn it is: heads in the order of class and age, each in all its scopes at once.
//!
//! An older request of another member does not block: its units are left for it, and the younger gets those after
//! them. So members may ask in any order, some time before their slots.

use std::collections::BTreeSet;

use crate::protocol::{Ask, Grant, Head, Leaf, LeafAnswer, Micros, Timing};

use super::{
    NEVER, cost, count,
    holder::Held,
    scope::{ScopeState, index},
    tickets::{Place, Ticket},
    windows::Window,
};

/// A leaf is to ask at least this often: one that died holds others up for no longer.
const LONGEST: Micros = 1_000_000;
/// How often one that waits for a permit asks if no message comes.
const BLOCKED: Micros = 500_000;
/// No sooner than this.
const SOONEST: Micros = 1_000;
/// A ticket counts for this much longer than its leaf was told to wait.
const GRACE: Micros = 50_000;
/// A head's instant depends on who is before it by then, which depends on the instant.
const ROUNDS: usize = 4;
/// So many waiting leaves are woken when units come back.
const MOST_WOKEN: i64 = 8;

pub(super) struct Contest<'a> {
    pub(super) ask: &'a Ask,
    pub(super) now: Micros,
    pub(super) timing: &'a Timing,
    /// Whether the member knows the epoch.
    pub(super) known: bool,
    /// For how long nothing is granted.
    pub(super) settling: Micros,
    pub(super) scopes: &'a mut [ScopeState],
}

/// Where a head stands.
struct Standing {
    /// When all its windows and pauses let it go.
    at: Micros,
    /// The same for each scope alone.
    each: Vec<Micros>,
    /// The scopes in which only the end of a request can tell.
    blocked: Vec<bool>,
    /// For each scope and window, the units of those before it.
    skips: Vec<Vec<i64>>,
}

impl Contest<'_> {
    pub(super) fn run(&mut self) -> Vec<LeafAnswer> {
        let leaves: Vec<_> = (self.ask.leaves.iter())
            .map(|leaf| self.steady(leaf))
            .collect();
        let mut order: Vec<_> = leaves.iter().enumerate().collect();
        order.sort_by(
            |(_, a), (_, b)| match (a.ages.is_empty(), b.ages.is_empty()) {
                (false, false) => self.place(a, 0).compare(&self.place(b, 0)),
                (a_left, b_left) => (a_left, a.leaf, a.class).cmp(&(b_left, b.leaf, b.class)),
            },
        );
        let mut answers = vec![LeafAnswer::default(); leaves.len()];
        for (index, leaf) in order {
            answers[index] = self.leaf(leaf);
        }
        answers
    }

    /// A leaf whose requests are no younger than by its call before.
    fn steady(&self, leaf: &Leaf) -> Leaf {
        let mine = |ticket: &&Ticket| ticket.member == self.ask.member && ticket.leaf == leaf.leaf;
        let mut tickets =
            (leaf.scopes.iter()).filter_map(|&scope| self.scopes[scope].tickets.iter().find(mine));
        let mut steady = leaf.clone();
        if let Some(ticket) = tickets.next() {
            ticket.steady(&mut steady.ages, self.now);
        }
        steady
    }

    fn place(&self, leaf: &Leaf, head: usize) -> Place<'_> {
        Place {
            class: leaf.class,
            arrival: self.now - leaf.ages[head],
            member: &self.ask.member,
            leaf: leaf.leaf,
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> LeafAnswer {
        let old: Vec<_> = leaf
            .scopes
            .iter()
            .map(|&scope| self.take_ticket(scope, leaf.leaf))
            .collect();
        let mut answer = LeafAnswer::default();
        let mut standing = None;
        for (position, head) in leaf.heads.iter().enumerate() {
            let stands = self.stand(leaf, position, head);
            let open = self.known && self.settling == 0;
            let soon = self.now + self.timing.ahead;
            if !open || stands.at > soon || stands.blocked.contains(&true) {
                standing = Some(stands);
                break;
            }
            answer.grants.push(self.grant(leaf, head, &stands));
        }
        let granted = answer.grants.len();
        let rest = leaf.waiting - count(granted);
        for (&scope, old) in leaf.scopes.iter().zip(&old) {
            if old
                .as_ref()
                .is_some_and(|old| rest == 0 && old.waiting > count(granted))
            {
                self.scopes[scope].moved = true;
            }
        }
        if rest == 0 {
            return answer;
        }
        let again = self.again(standing.as_ref());
        answer.again = Some(again);
        answer.wait = standing.as_ref().map(|standing| standing.at - self.now);
        for (position, &scope) in leaf.scopes.iter().enumerate() {
            let mut ticket = Ticket::new(self.ask, leaf, granted, self.now);
            ticket.until = self.now + again + GRACE;
            if let Some(standing) = &standing {
                ticket.from = self.from(standing, position);
                ticket.blocked = standing.blocked[position];
            }
            let yields = old[position]
                .as_ref()
                .is_some_and(|old| old.from < ticket.from);
            let kept = &mut self.scopes[scope];
            kept.freed |= yields;
            kept.tickets.push(ticket);
        }
        answer
    }

    fn take_ticket(&mut self, scope: usize, leaf: i64) -> Option<Ticket> {
        let tickets = &mut self.scopes[scope].tickets;
        let mine = |ticket: &Ticket| ticket.member == self.ask.member && ticket.leaf == leaf;
        let at = tickets.iter().position(mine)?;
        Some(tickets.remove(at))
    }

    fn stand(&self, leaf: &Leaf, position: usize, head: &Head) -> Standing {
        let place = self.place(leaf, position);
        let many = leaf.scopes.len();
        let mut standing = Standing {
            at: self.now,
            each: vec![self.now; many],
            blocked: vec![false; many],
            skips: vec![Vec::new(); many],
        };
        for _ in 0..ROUNDS {
            let mut latest = standing.at;
            for (position, &index) in leaf.scopes.iter().enumerate() {
                let scope = &self.scopes[index];
                let before = before(scope, &place, standing.at + self.timing.ahead);
                let (at, blocked) = self.opens(scope, head, &before, &mut standing.skips[position]);
                standing.each[position] = at;
                standing.blocked[position] = blocked;
                latest = latest.max(at);
            }
            if latest <= standing.at {
                break;
            }
            standing.at = latest;
        }
        standing
    }

    /// When a scope lets a head go, and whether only the end of a request can tell.
    fn opens(
        &self,
        scope: &ScopeState,
        head: &Head,
        before: &[(&Ticket, i64)],
        skips: &mut Vec<i64>,
    ) -> (Micros, bool) {
        let soon = self.now + self.timing.ahead;
        let (mut latest, mut blocked) = (scope.shared.paused_until.max(self.now), false);
        skips.clear();
        for window in &scope.windows {
            let skip = before
                .iter()
                .map(|(ticket, many)| ticket.cost(&window.unit, *many))
                .sum();
            skips.push(skip);
            let need = self.cost(head, window);
            if need == 0 {
                continue;
            }
            match window.opens(skip, need, self.now, soon, self.timing.reservation) {
                Some(at) => latest = latest.max(at),
                None => blocked = true,
            }
        }
        if let Some(limit) = scope.permits {
            let skip: i64 = before
                .iter()
                .map(|(ticket, many)| ticket.permits(*many))
                .sum();
            let need = head.permits.unwrap_or(1).min(limit);
            blocked |= limit - scope.used() - skip < need;
        }
        (latest, blocked)
    }

    /// What a head costs of a window that a live member has.
    fn cost(&self, head: &Head, window: &Window) -> i64 {
        match index(self.ask, &window.unit) {
            Some(unit) if window.n > 0 => cost(&head.costs, unit),
            _ => 0,
        }
    }

    fn grant(&mut self, leaf: &Leaf, head: &Head, standing: &Standing) -> Grant {
        let end = standing.at + self.timing.reservation;
        let mut holding = Vec::new();
        for (position, &index) in leaf.scopes.iter().enumerate() {
            let costs: Vec<_> = self.scopes[index]
                .windows
                .iter()
                .map(|window| self.cost(head, window))
                .collect();
            let scope = &mut self.scopes[index];
            for ((window, need), skip) in scope
                .windows
                .iter_mut()
                .zip(costs)
                .zip(&standing.skips[position])
            {
                if need > 0 && !window.at_end {
                    window.take(*skip, need, end + window.span);
                }
            }
            let charges = scope.charges(self.ask, &head.costs);
            if scope.permits.is_some() || !charges.is_empty() {
                let permits = head.permits.unwrap_or(1);
                let lease = self.now + self.timing.lease;
                scope.hold(
                    &self.ask.member,
                    lease,
                    Held {
                        id: head.id,
                        permits,
                        charges,
                    },
                );
                scope.sum_charges();
                holding.push(index);
            }
        }
        Grant {
            wait: standing.at - self.now,
            end,
            held: holding,
        }
    }

    /// When the leaf is to ask again, if its next head stands like that (or was not looked at).
    fn again(&self, standing: Option<&Standing>) -> Micros {
        let Some(standing) = standing.filter(|_| self.known) else {
            return 0;
        };
        let again = if self.settling > 0 {
            self.settling
        } else if standing.at > self.now + self.timing.ahead {
            standing.at - self.timing.ahead / 2 - self.now
        } else {
            BLOCKED
        };
        again.clamp(SOONEST, LONGEST)
    }

    /// From when on a head takes part in one of its scopes: not before the others can let it go, unless this one
    /// is what it waits for.
    fn from(&self, standing: &Standing, position: usize) -> Micros {
        if self.settling > 0 || !self.known {
            return 0;
        }
        let others = || (0..standing.each.len()).filter(|other| *other != position);
        if !standing.blocked[position] && others().any(|other| standing.blocked[other]) {
            return NEVER;
        }
        let open = others()
            .map(|other| standing.each[other])
            .max()
            .unwrap_or(self.now);
        let soon = self.now + self.timing.ahead;
        let binds = standing.each[position] >= open - self.timing.ahead;
        if open > soon && (standing.blocked[position] || !binds) {
            open
        } else {
            0
        }
    }

    /// The members whose turn may have come by this call.
    pub(super) fn whom_to_wake(&mut self) -> Vec<String> {
        let me = &self.ask.member;
        let mut wake = BTreeSet::new();
        for scope in &mut *self.scopes {
            let mut waiting: Vec<_> = scope
                .tickets
                .iter()
                .filter(|ticket| ticket.member != *me)
                .collect();
            waiting.sort_by(|a, b| a.place().compare(&b.place()));
            if scope.moved {
                wake.extend(waiting.iter().map(|ticket| ticket.member.clone()));
                continue;
            }
            let mut units = scope.given_back.min(MOST_WOKEN);
            for ticket in &waiting {
                if units <= 0 {
                    break;
                }
                wake.insert(ticket.member.clone());
                units -= ticket.waiting;
            }
            if scope.freed {
                let mut left = scope
                    .permits
                    .map_or(MOST_WOKEN, |limit| limit - scope.used());
                for ticket in waiting.iter().filter(|ticket| ticket.blocked) {
                    if left <= 0 {
                        break;
                    }
                    wake.insert(ticket.member.clone());
                    left -= ticket.permits(ticket.waiting);
                }
            }
        }
        wake.into_iter().collect()
    }
}

/// The requests that wait in a scope before a place and take part by then: tickets, and how many of each.
fn before<'a>(scope: &'a ScopeState, place: &Place<'_>, by: Micros) -> Vec<(&'a Ticket, i64)> {
    let tickets = scope.tickets.iter().filter(|ticket| ticket.from <= by);
    tickets
        .map(|ticket| (ticket, ticket.before(place)))
        .filter(|(_, many)| *many > 0)
        .collect()
}

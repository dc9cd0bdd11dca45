//! Permits, and what counts until a request's end: held for as long as the member's lease.
//!
//! Each call of a member that names the scope renews all that it holds there.

use crate::protocol::Micros;

use super::{
    count,
    holder::{Held, Holder},
    scope::ScopeState,
};

impl ScopeState {
    /// How many permits are out.
    pub(super) fn used(&self) -> i64 {
        let held = self.holders.iter().flat_map(|holder| &holder.held);
        held.map(|held| held.permits).sum()
    }

    /// How many grants the member holds here.
    pub(super) fn held_by(&self, member: &str) -> i64 {
        let holder = self.holders.iter().find(|holder| holder.member == member);
        holder.map_or(0, |holder| count(holder.held.len()))
    }

    /// The member holds one more.
    pub(super) fn hold(&mut self, member: &str, until: Micros, held: Held) {
        match self
            .holders
            .iter_mut()
            .find(|holder| holder.member == member)
        {
            Some(holder) => holder.held.push(held),
            None => self.holders.push(Holder::new(member, until, vec![held])),
        }
    }

    /// The member holds one less: what that was.
    pub(super) fn let_go(&mut self, member: &str, id: i64) -> Option<Held> {
        let at = self
            .holders
            .iter()
            .position(|holder| holder.member == member)?;
        let holder = &mut self.holders[at];
        let held = holder
            .held
            .remove(holder.held.iter().position(|held| held.id == id)?);
        if holder.held.is_empty() {
            self.holders.remove(at);
        }
        Some(held)
    }
}

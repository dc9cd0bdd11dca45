//! What a member holds: by request, by scope, and by when the scope was named last.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::protocol::{Hold, Micros};

/// So many scopes that are only held one call names, unless they have waited for half a lease. They take turns, so that
/// no call is long.
const AT_ONCE: usize = 64;
/// So many one call names however long they have waited.
const MOST: usize = 2000;

/// What one request holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) scopes: Vec<String>,
    pub(super) permits: i64,
    pub(super) costs: Vec<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// By number of the head.
    all: BTreeMap<i64, Held>,
    scopes: HashMap<Arc<str>, InScope>,
    /// By when they were named last: from then on the store holds a lease.
    order: BTreeSet<(Micros, Arc<str>)>,
}

#[derive(Debug)]
struct InScope {
    ids: BTreeSet<i64>,
    named: Micros,
}

impl Holdings {
    /// A request holds this, by the answer to a call that was sent then.
    pub(super) fn insert(&mut self, id: i64, held: Held, sent: Micros) {
        for scope in &held.scopes {
            if let Some(in_scope) = self.scopes.get_mut(scope.as_str()) {
                in_scope.ids.insert(id);
                continue;
            }
            let name = Arc::<str>::from(scope.as_str());
            self.order.insert((sent, Arc::clone(&name)));
            let ids = BTreeSet::from([id]);
            self.scopes.insert(name, InScope { ids, named: sent });
        }
        self.all.insert(id, held);
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<Held> {
        let held = self.all.remove(&id)?;
        for scope in &held.scopes {
            let Some((name, _)) = self.scopes.get_key_value(scope.as_str()) else {
                continue;
            };
            let name = Arc::clone(name);
            let Some(in_scope) = self.scopes.get_mut(&name) else {
                continue;
            };
            in_scope.ids.remove(&id);
            if in_scope.ids.is_empty() {
                self.order.remove(&(in_scope.named, Arc::clone(&name)));
                self.scopes.remove(&name);
            }
        }
        Some(held)
    }

    /// A call that was sent then has named the scope.
    pub(super) fn name(&mut self, scope: &str, sent: Micros) {
        let Some((name, _)) = self.scopes.get_key_value(scope) else {
            return;
        };
        let name = Arc::clone(name);
        if let Some(in_scope) = self.scopes.get_mut(&name) {
            self.order.remove(&(in_scope.named, Arc::clone(&name)));
            in_scope.named = sent;
            self.order.insert((sent, name));
        }
    }

    /// When the scope that has waited for longest was named.
    pub(super) fn named_first(&self) -> Option<Micros> {
        self.order.first().map(|(named, _)| *named)
    }

    /// Those that a call is to name although there is nothing else to say of them.
    pub(super) fn to_name(&self, now: Micros, lease: Micros) -> impl Iterator<Item = &str> {
        let due = self
            .order
            .iter()
            .take_while(move |(named, _)| *named + lease / 3 <= now);
        let many = due.zip(0..).take_while(move |((named, _), place)| {
            *place < AT_ONCE || *place < MOST && *named + lease / 2 <= now
        });
        many.map(|((_, name), _)| &**name)
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.keys().map(|name| &**name)
    }

    /// How many hold something in a scope.
    pub(super) fn count(&self, scope: &str) -> i64 {
        let in_scope = self.scopes.get(scope);
        in_scope.map_or(0, |in_scope| {
            i64::try_from(in_scope.ids.len()).unwrap_or(i64::MAX)
        })
    }

    /// All that is held in a scope.
    pub(super) fn kept(&self, scope: &str) -> Vec<Hold> {
        let ids = self.scopes.get(scope).into_iter();
        let ids = ids.flat_map(|in_scope| &in_scope.ids);
        let hold = |id: &i64| {
            let held = self.all.get(id)?;
            Some(Hold {
                id: *id,
                permits: held.permits,
                costs: held.costs.clone(),
            })
        };
        ids.filter_map(hold).collect()
    }
}

//! Which scopes an engine has, and the routes by which its requests find them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::ThreadId,
};

use crate::endpoints::{Identity, Routes, SpecId, SpecKind};

/// How an engine's requests find their buckets, once that has changed.
#[derive(Debug, Default)]
pub(super) struct Reloading {
    /// How many times the endpoints were loaded anew. The core has the number that counts.
    pub(super) epoch: AtomicU32,
    /// The present routes, from the first reload on.
    pub(super) present: RwLock<Option<Present>>,
    pub(super) registry: Mutex<Registry>,
    /// Who has the registry.
    pub(super) by: Mutex<Option<ThreadId>>,
}

/// The routes of one epoch.
#[derive(Clone, Debug)]
pub(super) struct Present {
    pub(super) routes: Arc<Routes>,
    pub(super) epoch: u32,
}

/// All scopes that an engine has, by what they are of.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) lines: HashMap<Identity, Vec<Known>>,
    /// The rules for partitions, of the scopes that there are. The last is the present one.
    pub(super) rules: Vec<(u32, Arc<Routes>)>,
    /// Numbers the rules.
    pub(super) next_rule: u32,
}

/// A scope that an endpoint, a group or a wider scope has or has had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) scope: SpecId,
    pub(super) parent: Option<SpecId>,
    /// That of which it is a variant, for a tier.
    pub(super) base: Option<SpecId>,
    /// Which rule for partitions its buckets go by.
    pub(super) rule: u32,
    pub(super) retired: bool,
}

/// The total across partitions is there for any rule.
pub(super) const ANY_RULE: u32 = u32::MAX;

impl Reloading {
    /// 0 until the endpoints are loaded anew.
    #[inline]
    pub(super) fn epoch(&self) -> u32 {
        // Relaxed: who misses the change finds out under the lock.
        self.epoch.load(Ordering::Relaxed)
    }
}

impl Registry {
    /// The scopes with which a layer begins are numbered like their specs.
    pub(super) fn learn(&mut self, first: &Arc<Routes>) {
        self.rules.push((0, Arc::clone(first)));
        self.next_rule = 1;
        let specs = first.specs().iter().zip(first.identities());
        for (index, (spec, identity)) in (0_u32..).zip(specs) {
            let known = Known {
                scope: SpecId(index),
                parent: spec.parent,
                base: spec.tier.as_ref().map(|tier| tier.base),
                rule: match spec.kind {
                    SpecKind::AcrossPartitions => ANY_RULE,
                    _ => 0,
                },
                retired: false,
            };
            self.lines.entry(identity).or_default().push(known);
        }
    }

    /// The number of a rule for partitions.
    pub(super) fn rule_of(&mut self, routes: &Routes) -> u32 {
        let same = self
            .rules
            .iter()
            .rev()
            .find(|(_, other)| routes.partitions_like(other));
        same.map_or_else(
            || {
                self.next_rule += 1;
                self.next_rule - 1
            },
            |&(rule, _)| rule,
        )
    }

    pub(super) fn forget_rules(&mut self) {
        let used: HashSet<_> = self
            .lines
            .values()
            .flatten()
            .map(|known| known.rule)
            .collect();
        self.rules.retain(|(rule, _)| used.contains(rule));
    }
}

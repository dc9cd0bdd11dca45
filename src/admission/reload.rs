//! Other endpoints for a layer that runs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
};

use super::{
    core::{Collecting, Core, Effects, NewScope, NodeId, Tier},
    engine::{Engine, Hold},
    handle::Handle,
    registry::{ANY_RULE, Known, Present, Registry},
};
use crate::{
    bucket::Tick,
    endpoints::{Endpoints, Identity, OfTier, Routes, SpecId, SpecKind, Target, UnknownEndpoint},
    quota::Quota,
};

/// How many scopes one hold of the lock adds, changes or forgets.
const STEP: usize = 16;

/// Why a layer cannot have other endpoints.
///
/// [`Handle::reload`] returns it. The text says what cannot be done, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotReload(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    UnderWay,
    Closed,
}

impl fmt::Display for CannotReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::UnderWay => f.write_str(
                "a reload cannot begin within another one of the same thread: expected that `Handle::reload` to have \
                 returned",
            ),
            Reason::Closed => f.write_str("the layer is closed: expected it to be open"),
        }
    }
}

impl Error for CannotReload {}

impl Handle {
    /// Gives the layer other endpoints, in place of all that it has.
    ///
    /// Everything may change at once: quotas, routes, names, groups, [`overall`](Endpoints::overall),
    /// [`each_other_path`](Endpoints::each_other_path) and [`all_other_paths`](Endpoints::all_other_paths), the rule
    /// for partitions, [tiers](Endpoints::tier) and [`name_by`](Endpoints::name_by). When this returns, every request that comes goes by the new
    /// endpoints, and so does a request that was called before and not polled yet. Until then, each goes by the old or
    /// by the new ones. The methods of this handle and of its snapshots understand the new names. Settings of the
    /// layer, pauses and [lessons](crate::Learning) stay. The same endpoints change nothing.
    ///
    /// # What becomes of buckets
    ///
    /// A template is the same whatever its parameters are called, and a named endpoint or a group is the same by its
    /// name. What is in both configurations keeps its buckets, with another quota as by
    /// [`set_quota`](Self::set_quota). What is new begins with an empty bucket, and what is removed serves the
    /// requests that wait for it, with its last quota.
    ///
    /// An endpoint gets a *new bucket* if it is in another group, or in none any more, or if the rule for partitions
    /// has changed; so do all, if [`across_partitions`](Endpoints::across_partitions) comes or goes. Requests that wait
    /// go on in the new one, with their age, class and flow, as if they had come to it (where the rule for partitions
    /// has changed they do not, see below). What was dispatched from the old one counts there until it ends, and a
    /// snapshot shows it [as retired](crate::BucketSnapshot::is_retired) for as
    /// long as there is something in it. Both buckets count as one, with the new quota: together, their windows hold no
    /// more than one would, and no more permits are held. That ends when nothing in the old one counts any more, after
    /// a minute at the earliest.
    ///
    /// # Partitions
    ///
    /// Partitions keep their buckets as long as the rule stays the same: the same header; a closure that captures
    /// nothing; or a clone of one that does. Their hashes are the layer's, whichever `Endpoints` it was made with.
    ///
    /// If the rule changes, nobody can tell which of the new partitions a request of an old one belongs to. Requests
    /// that wait finish in the old buckets, and each new bucket begins with the dispatches of all old ones of its
    /// endpoint, and counts the permits of them: too strict rather than too lax. Requests that wait in an old partition
    /// go by the old bucket alone, and hold up no new partition longer than by what they take. What is
    /// [settled](crate::Settlement) later, of a request that was dispatched before, is not counted again.
    ///
    /// A [tier](Endpoints::tier) is the same by its name. A partition of a tier that is new is of it from its next request
    /// on. One of a tier that is gone has the quotas of everyone else at once.
    ///
    /// # Panics
    ///
    /// If there are tiers without [`tier_by`](Endpoints::tier_by), or without a rule for partitions: nothing has changed then.
    ///
    /// # Errors
    ///
    /// If the layer was [closed](Self::close): nothing is admitted any more, by whatever endpoints.
    ///
    /// If the call comes from within an event of a reload, or from a waker that it wakes: this thread has not returned
    /// from it yet. Another thread waits until it has.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Quota, ThrottleLayer};
    ///
    /// fn plan(tts: Quota) -> Endpoints {
    ///     Endpoints::new()
    ///         .route("POST /v1/text-to-speech/{voice_id}", tts)
    ///         .partition_by_header("xi-api-key")
    /// }
    ///
    /// let layer = ThrottleLayer::new(plan(Quota::concurrent(4)));
    /// let handle = layer.handle();
    ///
    /// // Later, when another configuration was read from somewhere:
    /// handle.reload(plan(Quota::concurrent(10)).route("GET /v1/voices", Quota::per_second(5)))?;
    /// handle.set_quota("GET /v1/voices", Quota::per_second(4))?;
    /// # Ok::<(), tower_throttle::BoxError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "as a layer takes them")]
    pub fn reload(&self, endpoints: Endpoints) -> Result<(), CannotReload> {
        self.engine().reload(&endpoints)
    }
}

impl Engine {
    /// How requests find their buckets at present.
    pub(super) fn present(&self) -> Present {
        let present = self.reloading.present.read();
        let present = present.unwrap_or_else(PoisonError::into_inner);
        present.clone().unwrap_or_else(|| Present {
            routes: Arc::clone(&self.routes),
            epoch: 0,
        })
    }

    /// The scope that a caller of the handle means.
    pub(super) fn lookup(&self, endpoint: &str) -> Result<SpecId, UnknownEndpoint> {
        self.present().routes.lookup(endpoint)
    }

    /// Where a request belongs, and the lock, under which that is so.
    #[cold]
    #[inline(never)]
    pub(super) fn resolve_anew<'r, B>(
        &self,
        request: &'r http::Request<B>,
    ) -> Result<(Target<'r>, Hold<'_>), UnknownEndpoint> {
        loop {
            let Present { routes, epoch } = self.present();
            let mut target = routes.resolve(request)?;
            target.spec = routes.scope(target.spec);
            let locked = self.lock();
            if locked.core.tree.epoch == epoch {
                return Ok((target, locked));
            }
        }
    }

    /// A request that has not entered its queue yet enters it where it belongs by now. `leaf` is pinned for it, as is
    /// the one that is returned. `epoch` is that in which it was found.
    pub(super) fn find_anew<B>(
        &self,
        (leaf, epoch): (NodeId, u32),
        request: &http::Request<B>,
    ) -> Result<(NodeId, u32), UnknownEndpoint> {
        if self.reloading.epoch() == epoch {
            return Ok((leaf, epoch));
        }
        let (target, mut locked) = self.resolve_anew(request)?;
        let core = &mut locked.core;
        let found = core.tree.locate(&target);
        core.pin(found);
        core.unpin(leaf);
        Ok((found, core.tree.epoch))
    }

    fn reload(&self, endpoints: &Endpoints) -> Result<(), CannotReload> {
        endpoints.check_tiers();
        if self.is_closed() {
            return Err(CannotReload(Reason::Closed));
        }
        let this = thread::current().id();
        let by = || {
            self.reloading
                .by
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if *by() == Some(this) {
            return Err(CannotReload(Reason::UnderWay));
        }
        let registry = self.reloading.registry.lock();
        let mut registry = registry.unwrap_or_else(PoisonError::into_inner);
        *by() = Some(this);
        let _attached = self.attach_all();
        let mut reload = Reload {
            engine: self,
            panic: None,
        };
        reload.run(&mut registry, endpoints);
        *by() = None;
        drop(registry);
        if let Some(panic) = reload.panic {
            resume_unwind(panic);
        }
        Ok(())
    }
}

/// What a reload makes of the scopes.
#[derive(Default)]
struct Plan {
    /// What each spec is of, and what it says.
    specs: Vec<(Identity, Box<str>, Quota)>,
    /// Its scope.
    scopes: Vec<SpecId>,
    /// The specs whose scopes were there, each with its rule.
    kept: Vec<(usize, u32)>,
    /// Scopes of other rules for partitions, each with the one that begins with what they have counted.
    pooled: BTreeMap<SpecId, SpecId>,
}

/// A reload that is under way.
struct Reload<'e> {
    engine: &'e Engine,
    /// An observer's. It goes up when all is done.
    panic: Option<Box<dyn std::any::Any + Send>>,
}

impl Reload<'_> {
    fn run(&mut self, registry: &mut Registry, endpoints: &Endpoints) {
        let before = self.engine.present();
        if registry.rules.is_empty() {
            registry.learn(&before.routes);
        }
        self.clear(registry);
        let mut routes = endpoints.compile_after(&before.routes);
        let rule = registry.rule_of(&routes);

        // What is new comes first, and nobody finds it yet.
        let Some(plan) = self.add(registry, &routes, rule) else {
            return;
        };
        self.keep(registry, &plan);
        routes.number(plan.scopes.clone().into());
        let routes = Arc::new(routes);
        registry.rules.retain(|(other, _)| *other != rule);
        registry.rules.push((rule, Arc::clone(&routes)));
        self.begin_epoch(before.epoch, routes, &plan);
        self.retire(registry, &plan);
        self.hold(Core::move_on);
        self.requote(&plan);
        if !plan.pooled.is_empty() {
            self.pool(plan.pooled);
        }
    }

    /// Adds the scopes that are not there yet. `None` if that has failed.
    fn add(&mut self, registry: &mut Registry, routes: &Routes, rule: u32) -> Option<Plan> {
        let mut plan = Plan::default();
        for (spec, identity) in routes.specs().iter().zip(routes.identities()) {
            let parent = spec.parent.map(|parent| plan.scopes[parent.0 as usize]);
            let tier = spec.tier.clone().map(|tier| OfTier {
                base: plan.scopes[tier.base.0 as usize],
                ..tier
            });
            let base = tier.as_ref().map(|tier| tier.base);
            let is_across = spec.kind == SpecKind::AcrossPartitions;
            let rule = if is_across { ANY_RULE } else { rule };
            let line = registry.lines.entry(identity.clone()).or_default();
            let others = line.iter().filter(|known| known.rule != rule);
            let others: Vec<_> = others.map(|known| known.scope).collect();
            let same = line
                .iter()
                .filter(|known| (known.parent, known.base, known.rule) == (parent, base, rule));
            // One that comes back does not know what was counted under another rule.
            let same = same.min_by_key(|known| known.retired);
            let same = same.filter(|same| !same.retired || others.is_empty());
            plan.specs
                .push((identity, spec.name.clone(), spec.quota.clone()));
            if let Some(same) = same {
                plan.kept.push((plan.scopes.len(), rule));
                plan.scopes.push(same.scope);
                continue;
            }
            let new = NewScope {
                name: spec.name.clone(),
                kind: spec.kind,
                quota: spec.quota.clone(),
                parent,
                tier,
                partitioned: routes.partitioned() && !is_across,
                elders: elders(line, rule, None),
                // What was counted by other rules counts in the buckets, and these are those of the base.
                pools: base.is_none() && !others.is_empty(),
            };
            let scope = self.hold(|core, _, _| core.add_scope(new))?;
            plan.scopes.push(scope);
            plan.pooled.extend(
                others
                    .into_iter()
                    .map(|other| (other, base.unwrap_or(scope))),
            );
            line.push(Known {
                scope,
                parent,
                base,
                rule,
                retired: false,
            });
        }
        Some(plan)
    }

    /// Brings the scopes that were there up to date.
    fn keep(&mut self, registry: &Registry, plan: &Plan) {
        for some in plan.kept.chunks(STEP) {
            let kept = |&(spec, rule): &(usize, u32)| {
                let (identity, name, _) = &plan.specs[spec];
                let line = registry.lines.get(identity).map_or(&[][..], Vec::as_slice);
                let scope = plan.scopes[spec];
                (scope, name, elders(line, rule, Some(scope)))
            };
            let some: Vec<_> = some.iter().map(kept).collect();
            self.hold(|core, _, _| {
                for (scope, name, elders) in some {
                    core.keep_scope(scope, name, elders);
                }
            });
        }
    }

    /// Gives them their quotas. By now everyone waits where the new ones have them.
    fn requote(&mut self, plan: &Plan) {
        for some in plan.kept.chunks(STEP) {
            self.hold(|core, now, fx| {
                for &(spec, _) in some {
                    core.requote(plan.scopes[spec], &plan.specs[spec].2);
                }
                core.run(now, fx);
            });
        }
    }

    /// From here on requests find it.
    fn begin_epoch(&mut self, before: u32, routes: Arc<Routes>, plan: &Plan) {
        let epoch = before.wrapping_add(1).max(1);
        let partitioned = routes.partitioned();
        let mut kinds = routes.specs().iter().map(|spec| spec.kind);
        let overall = kinds.position(|kind| kind == SpecKind::Overall);
        let overall = overall.map(|index| plan.scopes[index]);
        let reloading = &self.engine.reloading;
        let tiers = Tier::all(&routes);
        self.hold(|core, _, _| {
            let present = reloading.present.write();
            *present.unwrap_or_else(PoisonError::into_inner) = Some(Present { routes, epoch });
            reloading.epoch.store(epoch, Ordering::Relaxed);
            core.begin_epoch(epoch, partitioned, overall, tiers)
        });
    }

    /// Retires the scopes that are not in the plan.
    fn retire(&mut self, registry: &mut Registry, plan: &Plan) {
        let specs = plan.specs.iter().zip(&plan.scopes);
        let present: HashMap<_, _> = specs
            .map(|((identity, _, quota), &scope)| (identity, (scope, quota)))
            .collect();
        let rules: HashMap<_, _> = registry
            .lines
            .iter()
            .filter_map(|(identity, line)| {
                let (scope, _) = *present.get(identity)?;
                let now = line.iter().find(|known| known.scope == scope)?;
                Some((identity.clone(), now.rule))
            })
            .collect();
        let mut gone = Vec::new();
        for (identity, line) in &mut registry.lines {
            // The buckets are those of the base, whatever the tier.
            let base = identity.base();
            let of_base = present.get(&base).copied();
            let rule = rules.get(&base).copied();
            let now = present.get(identity).copied();
            let is_now = |known: &Known| now.is_some_and(|(scope, _)| scope == known.scope);
            for known in line {
                known.retired = !is_now(known);
                if known.retired {
                    // One whose buckets are for other keys has no heir.
                    let heir = of_base.filter(|_| rule == Some(known.rule));
                    gone.push((
                        known.scope,
                        heir.map(|(heir, _)| heir),
                        now.or(of_base).map(|(_, quota)| quota),
                    ));
                }
            }
        }
        gone.sort_unstable_by_key(|(scope, ..)| *scope);
        for some in gone.chunks(STEP) {
            self.hold(|core, now, fx| {
                for &(scope, heir, quota) in some {
                    core.retire_scope(scope, heir, quota);
                }
                core.run(now, fx);
            });
        }
    }

    /// Collects what was counted in these scopes for the buckets of others, which wait for it.
    fn pool(&mut self, pooled: BTreeMap<SpecId, SpecId>) {
        let heirs: BTreeSet<_> = pooled.values().copied().collect();
        let mut collecting = Collecting::of(pooled);
        while self.hold(|core, _, _| core.collect(&mut collecting)) == Some(true) {}
        // Without the lock: they may be many.
        for (scope, key, bucket, last) in collecting.into_buckets() {
            self.hold(|core, _, _| core.fill_pools(scope, key, bucket, last));
        }
        for scope in heirs {
            self.hold(|core, now, fx| {
                core.open_pools(scope);
                core.run(now, fx);
            });
        }
    }

    /// Forgets scopes of which nothing is left.
    fn clear(&mut self, registry: &mut Registry) {
        // A scope keeps its parent, so parents go after their children: they were there before.
        let retired = registry
            .lines
            .values()
            .flatten()
            .filter(|known| known.retired);
        let mut retired: Vec<_> = retired.map(|known| known.scope).collect();
        retired.sort_unstable();
        retired.reverse();
        let mut gone = HashSet::new();
        for some in retired.chunks(STEP) {
            let dropped = self.hold(|core, now, fx| {
                let dropped = some
                    .iter()
                    .filter(|&&scope| core.drop_scope(scope, now, fx));
                dropped.copied().collect::<Vec<_>>()
            });
            gone.extend(dropped.unwrap_or_default());
        }
        if gone.is_empty() {
            return;
        }
        registry.lines.retain(|_, line| {
            let before = line.len();
            line.retain(|known| !gone.contains(&known.scope));
            if line.len() < before {
                for known in line.iter().filter(|known| !known.retired) {
                    let elders = elders(line, known.rule, Some(known.scope));
                    self.hold(|core, _, _| core.set_elders(known.scope, elders));
                }
            }
            !line.is_empty()
        });
        registry.forget_rules();
    }

    /// `None` if an observer panicked before it was done.
    fn hold<T>(&mut self, f: impl FnOnce(&mut Core, Tick, &mut Effects) -> T) -> Option<T> {
        let mut result = None;
        self.engine.give_way();
        let told = catch_unwind(AssertUnwindSafe(|| {
            self.engine
                .with(|core, now, fx| result = Some(f(core, now, fx)));
        }));
        if let Err(panic) = told {
            self.panic.get_or_insert(panic);
        }
        result
    }
}

/// The other scopes of a line whose buckets are for the same keys.
fn elders(line: &[Known], rule: u32, but: Option<SpecId>) -> Box<[SpecId]> {
    let others = line
        .iter()
        .filter(|known| known.rule == rule && Some(known.scope) != but);
    others.map(|known| known.scope).collect()
}

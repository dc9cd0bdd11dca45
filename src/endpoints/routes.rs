//! [`Endpoints`] made ready for use: one decision per request.

use std::{borrow::Cow, collections::HashMap, hash::Hash, sync::Arc};

use http::{Method, Request};

use super::{
    authority::Authority,
    builder::{Config, Endpoints, Others},
    error::UnknownEndpoint,
    hash_keys::HashKeys,
    name::{self, EndpointName, NameBy},
    normalize,
    partition::PartitionRule,
    router::Router,
    spec::{Spec, SpecId, SpecKind, TierId},
    template::Template,
    tier::TierQuotas,
};
use crate::{costs::Terms, quota::Quota, request_head::RequestHead};

/// Where a request belongs; the wider scopes are the parents of its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'r> {
    pub(crate) spec: SpecId,
    /// 0 if there are no partitions.
    pub(crate) partition: u64,
    /// That of the partition.
    pub(crate) tier: Option<TierId>,
    /// For [`SpecKind::EachOther`] and [`SpecKind::Unmatched`].
    pub(crate) key: Option<Key<'r>>,
}

/// Which of the buckets of one spec, in normal form.
///
/// The host has no `/`, and the path begins with one unless it is `*` or that of a `CONNECT`, which
/// is empty: one written after the other, they stay what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key<'r> {
    /// In lower case, with the port unless the scheme implies it; empty if the request names none.
    pub(crate) host: Cow<'r, str>,
    /// Empty for [`SpecKind::Unmatched`].
    pub(crate) path: Cow<'r, str>,
}

impl Endpoints {
    #[track_caller]
    pub(crate) fn compile(&self) -> Routes {
        self.check_tiers();
        let config = self.as_config();
        Routes::new(config, config.hash_keys.clone())
    }
}

/// What [`Endpoints::compile`] makes.
#[derive(Debug)]
pub(crate) struct Routes {
    specs: Vec<Spec>,
    router: Router,
    /// To find a template by any of its spellings.
    templates: HashMap<Arc<Template>, SpecId>,
    /// The specs that are not of a template, sorted by name.
    by_name: Vec<SpecId>,
    /// The names of all specs.
    known: Arc<[Box<str>]>,
    /// The names that a request can choose, sorted.
    names: Arc<[Box<str>]>,
    /// Their specs, in the same order.
    named: Vec<SpecId>,
    name_by: Option<NameBy>,
    /// Whether all requests without extensions are told apart by their paths alone.
    is_plain: bool,
    /// For requests that match nothing.
    other: SpecId,
    partition_by: Option<PartitionRule>,
    tier_by: Option<NameBy>,
    tiers: Box<[TierQuotas]>,
    hash_keys: HashKeys,
    /// The scope of each spec, where they are not numbered alike.
    scopes: Box<[SpecId]>,
}

impl Routes {
    pub(super) fn new(config: &Config, hash_keys: HashKeys) -> Self {
        let mut specs = Vec::new();
        let mut add = |name: &str, quota: &Quota, parent, kind| {
            let id = SpecId(u32::try_from(specs.len()).expect("fewer endpoints than 2^32"));
            specs.push(Spec {
                name: name.into(),
                quota: quota.clone(),
                parent,
                kind,
                tier: None,
            });
            id
        };
        let unlimited = Quota::unlimited();

        let across = config.across_partitions.as_ref().map(|quota| {
            let name = name::ACROSS_PARTITIONS;
            add(name, quota, None, SpecKind::AcrossPartitions)
        });
        let overall = config.overall.as_ref().unwrap_or(&unlimited);
        let overall = add(name::OVERALL, overall, across, SpecKind::Overall);
        let (name, quota, kind) = match &config.others {
            Some(Others::Each(quota)) => (name::EACH_OTHER_PATH, quota, SpecKind::EachOther),
            Some(Others::All(quota)) => (name::ALL_OTHER_PATHS, quota, SpecKind::AllOther),
            None => (name::UNMATCHED, &unlimited, SpecKind::Unmatched),
        };
        let other = add(name, quota, Some(overall), kind);
        let groups: Vec<_> = config
            .groups
            .iter()
            .map(|(name, quota)| add(name, quota, Some(overall), SpecKind::Group))
            .collect();

        let mut router = Router::default();
        let mut templates = HashMap::with_capacity(config.entries.len());
        let mut entries = Vec::with_capacity(config.entries.len());
        for entry in &config.entries {
            let quota = entry.quota.as_ref().unwrap_or(&unlimited);
            let parent = entry.group.map_or(overall, |group| groups[group]);
            let id = add(&entry.written, quota, Some(parent), SpecKind::Route);
            router.insert(&entry.template, id);
            templates.insert(Arc::clone(&entry.template), id);
            entries.push(id);
        }
        let mut named: Vec<_> = config
            .named
            .iter()
            .map(|(name, quota)| add(name, quota, Some(overall), SpecKind::Named))
            .collect();

        let name = |id: &SpecId| &specs[id.0 as usize].name;
        named.sort_unstable_by_key(name);
        let mut by_name = groups;
        by_name.extend(&named);
        by_name.extend([overall, other].into_iter().chain(across));
        by_name.sort_unstable_by_key(name);

        let known = specs.iter().map(|spec| spec.name.clone()).collect();
        let to_choose = named.iter().map(|id| name(id).clone()).collect();
        let tiers = config.add_tiers(&mut specs, &entries, |specs, name| {
            find_by_name(specs, &by_name, name)
        });

        Self {
            router,
            templates,
            by_name,
            known,
            names: to_choose,
            named,
            specs,
            name_by: config.name_by.clone(),
            tier_by: config.tier_by.clone(),
            tiers,
            is_plain: config.name_by.is_none()
                && config.partition_by.is_none()
                && config.tier_by.is_none(),
            other,
            partition_by: config.partition_by.clone(),
            hash_keys,
            scopes: Box::default(),
        }
    }

    pub(super) fn hash_keys(&self) -> &HashKeys {
        &self.hash_keys
    }

    /// Partitions go by these keys from now on.
    pub(crate) fn set_hash_keys(&self, keys: [u64; 2]) {
        self.hash_keys.set(keys);
    }

    pub(super) fn partition_rule(&self) -> Option<&PartitionRule> {
        self.partition_by.as_ref()
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = (&Arc<Template>, SpecId)> {
        self.templates.iter().map(|(template, &id)| (template, id))
    }

    pub(super) fn set_scopes(&mut self, scopes: Box<[SpecId]>) {
        self.scopes = scopes;
    }

    /// The scope of a spec.
    pub(crate) fn scope(&self, spec: SpecId) -> SpecId {
        self.scopes.get(spec.0 as usize).copied().unwrap_or(spec)
    }

    /// All there are, indexed by [`SpecId`].
    pub(crate) fn specs(&self) -> &[Spec] {
        &self.specs
    }

    pub(crate) fn spec(&self, id: SpecId) -> &Spec {
        &self.specs[id.0 as usize]
    }

    pub(crate) fn partitioned(&self) -> bool {
        self.partition_by.is_some()
    }

    /// The scope that a caller of the handle means by a template in any spelling, or by a name.
    pub(crate) fn lookup(&self, endpoint: &str) -> Result<SpecId, UnknownEndpoint> {
        self.lookup_spec(endpoint).map(|spec| self.scope(spec))
    }

    fn lookup_spec(&self, endpoint: &str) -> Result<SpecId, UnknownEndpoint> {
        // A name has no slash, and a template has one.
        let found = if endpoint.contains('/') {
            let wanted = Template::parse(endpoint).ok();
            wanted.and_then(|wanted| self.templates.get(&wanted).copied())
        } else {
            find_by_name(&self.specs, &self.by_name, endpoint)
        };
        found.ok_or_else(|| UnknownEndpoint::in_lookup(endpoint, Arc::clone(&self.known)))
    }

    /// The scope that a caller of the handle means by a tier and an endpoint.
    pub(crate) fn lookup_in_tier(
        &self,
        tier: &str,
        endpoint: &str,
    ) -> Result<SpecId, UnknownEndpoint> {
        let TierId(at) = self.tier(tier)?;
        let base = self.lookup_spec(endpoint)?;
        let variants = &self.tiers[at as usize].variants;
        let name = |base: &SpecId| self.spec(*base).name.clone();
        let found = variants.get(&base).map(|&spec| self.scope(spec));
        found.ok_or_else(|| {
            UnknownEndpoint::in_lookup(endpoint, variants.keys().map(name).collect())
        })
    }

    /// All tiers, indexed by [`TierId`].
    pub(crate) fn tiers(&self) -> &[TierQuotas] {
        &self.tiers
    }

    fn tier(&self, name: &str) -> Result<TierId, UnknownEndpoint> {
        let found = (0..).zip(&self.tiers).find(|(_, tier)| *tier.name == *name);
        found.map(|(at, _)| TierId(at)).ok_or_else(|| {
            let known = self.tiers.iter().map(|tier| Box::from(&*tier.name));
            UnknownEndpoint::in_tier(name, known.collect())
        })
    }

    /// The partition of the requests for which the rule finds this value.
    pub(crate) fn partition_of<V: Hash + ?Sized>(&self, value: &V) -> Option<u64> {
        let rule = self.partition_by.as_ref();
        rule.map(|_| PartitionRule::partition_of(value, &self.hash_keys))
    }

    /// Where a request belongs.
    ///
    /// One call runs each of the user's closures once at most: `name_by` unless the request has an
    /// [`EndpointName`], then `partition_by` and `tier_by` unless the name is unknown. Another call runs them again, and
    /// they may return something else: resolve a request once, and keep what came of it.
    ///
    /// # Errors
    ///
    /// If the request, or the user's closure, names an endpoint or a tier that is not configured.
    #[expect(clippy::inline_always, reason = "it spares the move of a target")]
    #[inline(always)]
    pub(crate) fn resolve<'r, B>(
        &self,
        request: &'r Request<B>,
    ) -> Result<Target<'r>, UnknownEndpoint> {
        let head = RequestHead::from(request);
        if !self.is_plain || !head.extensions().is_empty() {
            return self.resolve_head(&head);
        }
        let (spec, key) = self.by_path(&head);
        Ok(Target {
            spec,
            partition: 0,
            tier: None,
            key,
        })
    }

    /// Of a request of which more counts than its path.
    #[inline(never)]
    fn resolve_head<'r>(&self, head: &RequestHead<'r>) -> Result<Target<'r>, UnknownEndpoint> {
        // Most are partitions of what the path says, and not named.
        let has_name = self.name_by.is_some() || !head.extensions().is_empty();
        let named = if has_name { self.named(head)? } else { None };
        let (spec, key) = match named {
            Some(spec) => (spec, None),
            None => self.by_path(head),
        };
        let partition = match &self.partition_by {
            Some(rule) => rule.partition(head, &self.hash_keys),
            None => 0,
        };
        let tier = match &self.tier_by {
            Some(tier_by) => tier_by.choose(head, |name| self.tier(name)).transpose()?,
            None => None,
        };
        Ok(Target {
            spec,
            partition,
            tier,
            key,
        })
    }

    fn named(&self, head: &RequestHead<'_>) -> Result<Option<SpecId>, UnknownEndpoint> {
        let look_up = |name: &str| {
            self.names
                .binary_search_by(|known| (**known).cmp(name))
                .map(|found| self.named[found])
                .map_err(|_| UnknownEndpoint::in_request(name, Arc::clone(&self.names)))
        };
        let terms = head.extensions().get::<Terms>();
        let by_terms = terms.and_then(Terms::stated_endpoint);
        let by_extension = by_terms.or_else(|| head.extensions().get().map(EndpointName::as_str));
        match (by_extension, &self.name_by) {
            (Some(name), _) => look_up(name).map(Some),
            (None, Some(name_by)) => name_by.choose(head, look_up).transpose(),
            (None, None) => Ok(None),
        }
    }

    #[expect(clippy::inline_always, reason = "it spares the move of a key")]
    #[inline(always)]
    fn by_path<'r>(&self, head: &RequestHead<'r>) -> (SpecId, Option<Key<'r>>) {
        let path = head.uri().path();
        match self.router.find(head, path) {
            Some(spec) => (spec, None),
            None => self.by_normal_form(head, path),
        }
    }

    /// Of a path that matches nothing as it is.
    #[inline(never)]
    fn by_normal_form<'r>(
        &self,
        head: &RequestHead<'r>,
        path: &'r str,
    ) -> (SpecId, Option<Key<'r>>) {
        let path = match path {
            // The authority form has no path. With any other method it is a sloppy way to write
            // the root.
            "" if head.method() == Method::CONNECT => Cow::Borrowed(""),
            path => normalize::path(path),
        };
        if let Cow::Owned(path) = &path {
            if let Some(spec) = self.router.find(head, path) {
                return (spec, None);
            }
        }
        let path = match self.spec(self.other).kind {
            SpecKind::EachOther => path,
            SpecKind::Unmatched => Cow::Borrowed(""),
            _ => return (self.other, None),
        };
        let host = Authority::key_of(head);
        (self.other, Some(Key { host, path }))
    }
}

/// Of the specs that are of no template, which are sorted by name.
fn find_by_name(specs: &[Spec], sorted: &[SpecId], name: &str) -> Option<SpecId> {
    let found = sorted.binary_search_by_key(&name, |id| &*specs[id.0 as usize].name);
    found.ok().map(|at| sorted[at])
}

//! Other quotas for the partitions of a tier.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    builder::{Config, Endpoints, Others, or_panic},
    error::{InvalidEndpoint, Reason},
    name::{self, NameBy},
    spec::{OfTier, Spec, SpecId},
    tier::{Of, Tier, TierQuotas},
};
use crate::{quota::Quota, request_head::RequestHead};

impl Endpoints {
    /// Gives the partitions of a tier other quotas, in place of those for everyone else: by an endpoint's template, by
    /// the name of a group or a named endpoint, or for [`OVERALL`](Self::OVERALL). What is not listed stays as it is.
    ///
    /// Which partitions are of the tier is for [`tier_by`](Self::tier_by) to say. A partition keeps its buckets when its
    /// tier changes: what it has sent counts in the windows of its new quota, as after
    /// [`Handle::set_quota`](crate::Handle::set_quota), and what is in flight holds its permits. As there, an endpoint without
    /// any window remembers a minute: keep that in mind where one tier has none, and another has a longer one.
    ///
    /// A template that no [`route`](Self::route) has, before or after, becomes an endpoint without a quota of its own for
    /// everyone else.
    ///
    /// ```
    /// use tower_throttle::{Endpoints, Quota, ThrottleLayer};
    ///
    /// let endpoints = Endpoints::new()
    ///     .route("POST /v1/text-to-speech/{voice_id}", Quota::concurrent(2))
    ///     .overall(Quota::per_minute(60))
    ///     .partition_by_header("x-customer")
    ///     .tier("gold", [
    ///         ("POST /v1/text-to-speech/{voice_id}", Quota::concurrent(10)),
    ///         (Endpoints::OVERALL, Quota::per_minute(600)),
    ///     ])
    ///     .tier_by(|head| {
    ///         let customer = head.headers().get("x-customer")?;
    ///         // From what the program knows of its customers: a map behind a lock, say.
    ///         (customer == "wonka").then_some("gold")
    ///     });
    /// let layer = ThrottleLayer::new(endpoints);
    ///
    /// // From now on, for all of the tier.
    /// layer.handle().set_tier_quota("gold", Endpoints::OVERALL, Quota::per_minute(900))?;
    /// # Ok::<_, tower_throttle::UnknownEndpoint>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `name` is empty, or there is a tier of this name; if a template is invalid; if a name is that of no group and
    /// no endpoint that was named before, or is [`ACROSS_PARTITIONS`](Self::ACROSS_PARTITIONS), which is one quota for
    /// all; or if an endpoint is listed twice. A layer, and a [reload](crate::Handle::reload), panics if there are tiers
    /// without [`tier_by`](Self::tier_by), or without a rule for partitions.
    #[track_caller]
    pub fn tier<'a>(self, name: &str, quotas: impl IntoIterator<Item = (&'a str, Quota)>) -> Self {
        or_panic(self.try_tier(name, quotas))
    }

    fn try_tier<'a>(
        mut self,
        name: &str,
        quotas: impl IntoIterator<Item = (&'a str, Quota)>,
    ) -> Result<Self, InvalidEndpoint> {
        let error = |reason| Err(InvalidEndpoint::tier(name, reason));
        if name.is_empty() {
            return error(Reason::Empty);
        }
        if self
            .as_config()
            .tiers
            .iter()
            .any(|tier| *tier.name == *name)
        {
            return error(Reason::TierTaken);
        }
        let mut tier = Tier {
            name: name.into(),
            quotas: Vec::new(),
        };
        for (endpoint, quota) in quotas {
            let of = if endpoint.contains('/') {
                Of::Entry(self.entry_at(endpoint)?)
            } else if self.as_config().has_tiered(endpoint) {
                Of::Name(endpoint.into())
            } else {
                let endpoint = endpoint.into();
                return error(Reason::NotInTier { endpoint });
            };
            if tier.quotas.iter().any(|(other, _)| *other == of) {
                let endpoint = endpoint.into();
                return error(Reason::TwiceInTier { endpoint });
            }
            tier.quotas.push((of, quota));
        }
        self.config().tiers.push(tier);
        Ok(self)
    }

    /// Says of which [`tier`](Self::tier) a request's partition is; `None` if of none. It is asked once for each request.
    ///
    /// The closure may look it up in what the program keeps about its customers, and answer differently later. A bucket
    /// goes by the tier of the last request that came to it, so a new tier takes effect with the next request: for those
    /// that wait in this bucket, too. A tier that is not configured is an error for that request.
    ///
    /// Keys beyond `max_keys`, which share one bucket, are of no tier.
    ///
    /// # Panics
    ///
    /// If it was called before.
    #[track_caller]
    pub fn tier_by<F, N>(mut self, tier: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<N> + Send + Sync + 'static,
        N: AsRef<str>,
    {
        let before = self.config().tier_by.replace(NameBy::new(tier));
        assert!(
            before.is_none(),
            "`tier_by` was called twice: expected one closure"
        );
        self
    }

    /// # Panics
    ///
    /// If there are tiers, and no partitions that could be of one.
    #[track_caller]
    pub(crate) fn check_tiers(&self) {
        let config = self.as_config();
        let Some(tier) = config.tiers.first() else {
            return;
        };
        let name = &tier.name;
        assert!(
            config.tier_by.is_some(),
            "tier {name:?}: expected `tier_by`, which says who is of it"
        );
        assert!(
            config.partition_by.is_some(),
            "tier {name:?}: expected a rule for partitions, which are what is of a tier"
        );
    }
}

impl Config {
    /// Whether a name is of something of which each partition has its own.
    fn has_tiered(&self, endpoint: &str) -> bool {
        let others = match &self.others {
            Some(Others::Each(_)) => endpoint == name::EACH_OTHER_PATH,
            Some(Others::All(_)) => endpoint == name::ALL_OTHER_PATHS,
            None => false,
        };
        others || endpoint == name::OVERALL || self.names.contains(endpoint)
    }

    /// Adds what the specs are for each tier.
    pub(super) fn add_tiers(
        &self,
        specs: &mut Vec<Spec>,
        entries: &[SpecId],
        by_name: impl Fn(&[Spec], &str) -> Option<SpecId>,
    ) -> Box<[TierQuotas]> {
        let of_tier = |tier: &Tier| {
            let name: Arc<str> = (*tier.name).into();
            let mut variants = BTreeMap::new();
            for (of, quota) in &tier.quotas {
                let base = match of {
                    Of::Entry(at) => entries[*at],
                    Of::Name(name) => by_name(specs, name).expect("it has been looked for"),
                };
                let id = u32::try_from(specs.len()).expect("fewer endpoints than 2^32");
                variants.insert(base, SpecId(id));
                let variant = Spec {
                    quota: quota.clone(),
                    tier: Some(OfTier {
                        base,
                        name: Arc::clone(&name),
                    }),
                    ..specs[base.0 as usize].clone()
                };
                specs.push(variant);
            }
            TierQuotas { name, variants }
        };
        self.tiers.iter().map(of_tier).collect()
    }
}

//! What stays the same when the endpoints of a layer are loaded anew.

use std::sync::Arc;

use super::{
    builder::Endpoints,
    routes::Routes,
    spec::{SpecId, SpecKind},
    template::Template,
};

/// Which endpoint or wider scope a spec is of, in whatever configuration: a template whatever its parameters are
/// called, a name, or one of those that every configuration has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    kind: SpecKind,
    template: Option<Arc<Template>>,
    /// Empty for a template.
    name: Box<str>,
    /// If it is what another one is for a tier.
    tier: Option<Arc<str>>,
}

impl Identity {
    /// What partitions have that are of no tier.
    pub(crate) fn base(&self) -> Self {
        Self {
            tier: None,
            ..self.clone()
        }
    }
}

impl Endpoints {
    /// For a layer that has had other endpoints: partitions have the hashes that they had there.
    pub(crate) fn compile_after(&self, before: &Routes) -> Routes {
        Routes::new(self.as_config(), before.hash_keys().clone())
    }
}

impl Routes {
    /// That of each spec, in their order. A spec's parent comes before it.
    pub(crate) fn identities(&self) -> Vec<Identity> {
        let identity = |spec: &super::spec::Spec| Identity {
            kind: spec.kind,
            template: None,
            name: match spec.kind {
                SpecKind::Route => Box::default(),
                _ => spec.name.clone(),
            },
            tier: None,
        };
        let mut all: Vec<_> = self.specs().iter().map(identity).collect();
        for (template, id) in self.templates() {
            all[id.0 as usize].template = Some(Arc::clone(template));
        }
        // Each comes after what it is for no tier.
        for (at, spec) in self.specs().iter().enumerate() {
            if let Some(tier) = &spec.tier {
                all[at] = Identity {
                    tier: Some(Arc::clone(&tier.name)),
                    ..all[tier.base.0 as usize].clone()
                };
            }
        }
        all
    }

    /// Whether a request is of the same partition there and here, as far as that can be told.
    pub(crate) fn partitions_like(&self, other: &Self) -> bool {
        match (self.partition_rule(), other.partition_rule()) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Says which scopes of a layer the specs are, where these are not numbered alike.
    pub(crate) fn number(&mut self, scopes: Box<[SpecId]>) {
        self.set_scopes(scopes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn a_rule_is_the_same_if_it_cannot_but_be() {
        let by = |endpoints: Endpoints| endpoints.compile();
        let none = by(Endpoints::new());
        let a = by(Endpoints::new().partition_by_header("a"));
        let also_a = by(Endpoints::new().partition_by_header("A"));
        let b = by(Endpoints::new().partition_by_header("b"));
        assert!(none.partitions_like(&by(Endpoints::new())));
        assert!(a.partitions_like(&also_a) && !a.partitions_like(&b));
        assert!(!none.partitions_like(&a) && !a.partitions_like(&none));

        let plain = || Endpoints::new().partition_by(|head| Some(head.method().clone()));
        assert!(by(plain()).partitions_like(&by(plain())));
        let taking = |n: usize| Endpoints::new().partition_by(move |_| Some(n));
        let one = taking(1);
        assert!(by(one.clone()).partitions_like(&by(one.clone())));
        assert!(!by(one).partitions_like(&by(taking(1))));
    }

    #[test]
    fn names_of_parameters_are_no_difference() {
        let quota = Quota::per_second(1);
        let one = Endpoints::new()
            .route("GET /v1/{a}", quota.clone())
            .named("n", quota.clone());
        let other = Endpoints::new()
            .named("n", quota.clone())
            .route("GET /v1/{b}/", quota);
        let (one, other) = (one.compile().identities(), other.compile().identities());
        assert!(one.iter().all(|identity| other.contains(identity)));
    }
}

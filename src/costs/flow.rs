use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::OnceLock,
};

/// Whose request it is: of those that wait at one endpoint, flows share fairly what is given out, however many requests
/// each has.
///
/// A flow is named by anything that can be hashed: a tenant, a user, a job. Requests of one class and endpoint whose
/// flows were made from equal keys are of one flow, and so are all requests without one. State it in the
/// [`Terms`](crate::Terms) of a request, or with `flow_by` of the layer.
///
/// The key itself is not kept.
///
/// ```
/// use tower_throttle::{Flow, Terms};
///
/// let terms = Terms::new().flow(Flow::new("tenant 17").weight(3));
/// # let _ = terms;
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    key: u64,
    weight: u32,
}

impl Flow {
    /// The flow of this key, with the weight 1.
    pub fn new(key: impl Hash) -> Self {
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let key = HASHER.get_or_init(RandomState::new).hash_one(key);
        Self { key, weight: 1 }
    }

    /// How much it gets beside the others: twice as much with 2 as with 1. The weight that its latest request states
    /// counts. Requests without a flow weigh 1.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    #[track_caller]
    pub fn weight(mut self, weight: u32) -> Self {
        assert!(weight > 0, "a flow weighs 0: expected 1 or more");
        self.weight = weight;
        self
    }

    pub(crate) fn key(self) -> u64 {
        self.key
    }

    pub(crate) fn weighs(self) -> u32 {
        self.weight
    }
}

/// Says the weight only: what a key was made from may be a secret.
impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_are_one_flow_and_debug_shows_none() {
        assert_eq!(Flow::new("secret"), Flow::new(String::from("secret")));
        assert_ne!(Flow::new(("a", 1)), Flow::new(("a", 2)));
        let shown = format!("{:?}", Flow::new("secret").weight(3));
        assert_eq!(shown, "Flow { weight: 3, .. }");
    }

    #[test]
    #[should_panic(expected = "a flow weighs 0: expected 1 or more")]
    fn a_flow_that_weighs_nothing_is_refused() {
        let _ = Flow::new(1).weight(0);
    }
}

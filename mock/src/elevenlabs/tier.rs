//! What a plan comes with, apart from its concurrency.

use tower_throttle_plans::elevenlabs::Plan;

/// What a workspace without a plan has: more than any test uses.
const UNBOUNDED_CREDITS: u64 = 1_000_000_000;

/// What a subscription to a plan comes with. `None` is no plan that is for sale: the mock's default, in
/// which nothing runs out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tier {
    /// As the subscription says it.
    pub(super) name: &'static str,
    /// In a month.
    pub(super) credits: u64,
    /// How many voices of its own a workspace can have.
    pub(super) voices: usize,
    pub(super) professional_voices: usize,
    pub(super) can_clone: bool,
}

impl Tier {
    pub(super) const fn of(plan: Option<Plan>) -> Self {
        let (credits, voices, professional_voices) = match plan {
            Some(Plan::Free) => (10_000, 3, 0),
            Some(Plan::Starter) => (30_000, 10, 0),
            Some(Plan::Creator) => (100_000, 30, 1),
            Some(Plan::Pro) => (500_000, 160, 1),
            Some(Plan::Scale) => (2_000_000, 660, 3),
            // A plan that this mock does not know is a larger one.
            Some(_) => (11_000_000, 660, 10),
            None => (UNBOUNDED_CREDITS, 10_000, 10),
        };
        Self {
            name: match plan {
                Some(plan) => plan.name(),
                None => "enterprise",
            },
            credits,
            voices,
            professional_voices,
            can_clone: !matches!(plan, Some(Plan::Free)),
        }
    }
}

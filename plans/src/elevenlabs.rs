//! What the ElevenLabs API allows.
//!
//! ElevenLabs publishes no requests per second: a workspace may have so many requests *in flight*, and
//! one with more gets a 429. Two tables say how many, and they differ; both are here, with their dates.
//!
//! | plan | [`Plan::preset`]: limit, recommended | [`Plan::concurrency`]: Multilingual, Flash |
//! |---|---|---|
//! | Free | 4, 3 | 2, 4 |
//! | Starter | 10, 8 | 3, 6 |
//! | Creator | 20, 15 | 5, 10 |
//! | Pro | 50, 40 | 10, 20 |
//! | Scale, Business | - | 15, 30 |
//!
//! The first is one user's own: what worked for their accounts, and a setting that leaves room below it. The
//! second is what the vendor published on 2026-06-26, one limit per family of models; "Multilingual" is
//! the vendor's "Multilingual v2 and all other models". When in doubt, start with the second: a limit that
//! is too low costs time, one that is too high costs refusals.

use std::{fmt, str::FromStr};

/// A subscription to ElevenLabs.
///
/// `Display` and `FromStr` use the names that the API's `tier` has: `free`, `starter`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Plan {
    /// `free`
    Free,
    /// `starter`
    Starter,
    /// `creator`
    Creator,
    /// `pro`
    Pro,
    /// `scale`
    Scale,
    /// `business`
    Business,
}

/// The models that share one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Multilingual v2, and all models that are in no other family.
    Multilingual,
    /// Flash, and Turbo before it.
    Flash,
}

/// A limit that applies to all models together, and a setting that leaves room below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// How many requests may be in flight.
    pub limit: usize,
    /// How many a client should have in flight, so that one that the server has not seen the end of yet
    /// makes no other fail.
    pub recommended: usize,
}

impl Plan {
    /// All plans whose limits are published, the smallest first.
    pub const ALL: [Self; 6] = [
        Self::Free,
        Self::Starter,
        Self::Creator,
        Self::Pro,
        Self::Scale,
        Self::Business,
    ];

    /// As the API's `tier` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starter => "starter",
            Self::Creator => "creator",
            Self::Pro => "pro",
            Self::Scale => "scale",
            Self::Business => "business",
        }
    }

    /// One limit for all models, from one user's table; none for the plans that are not in it.
    ///
    /// See the [module](self) for where this differs from [`concurrency`](Self::concurrency).
    pub const fn preset(self) -> Option<Preset> {
        let (limit, recommended) = match self {
            Self::Free => (4, 3),
            Self::Starter => (10, 8),
            Self::Creator => (20, 15),
            Self::Pro => (50, 40),
            Self::Scale | Self::Business => return None,
        };
        Some(Preset { limit, recommended })
    }

    /// How many requests of this family may be in flight, as published on 2026-06-26.
    ///
    /// Each family has a budget of its own: the one does not use up the other's.
    pub const fn concurrency(self, family: Family) -> usize {
        let (multilingual, flash) = match self {
            Self::Free => (2, 4),
            Self::Starter => (3, 6),
            Self::Creator => (5, 10),
            Self::Pro => (10, 20),
            Self::Scale | Self::Business => (15, 30),
        };
        match family {
            Family::Multilingual => multilingual,
            Family::Flash => flash,
        }
    }
}

impl Family {
    /// All families.
    pub const ALL: [Self; 2] = [Self::Multilingual, Self::Flash];

    /// The family of a model, by its `model_id`.
    ///
    /// A model that is not known is in the family with the lower limit, as new models have been so far.
    ///
    /// ```
    /// use tower_throttle_plans::elevenlabs::Family;
    ///
    /// assert_eq!(Family::of_model("eleven_turbo_v2_5"), Family::Flash);
    /// assert_eq!(Family::of_model("eleven_v3"), Family::Multilingual);
    /// ```
    pub fn of_model(model_id: &str) -> Self {
        let fast = |part| part == "flash" || part == "turbo";
        if model_id.split('_').any(fast) {
            Self::Flash
        } else {
            Self::Multilingual
        }
    }

    /// `multilingual` or `flash`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multilingual => "multilingual",
            Self::Flash => "flash",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Plan {
    type Err = UnknownPlan;

    /// The case of letters makes no difference.
    fn from_str(text: &str) -> Result<Self, UnknownPlan> {
        let mut plans = Self::ALL.into_iter();
        plans
            .find(|plan| plan.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownPlan(text.to_owned()))
    }
}

/// This is no [`Plan`] whose limits are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPlan(String);

impl fmt::Display for UnknownPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no known plan: expected one of", self.0)?;
        for (place, plan) in Plan::ALL.iter().enumerate() {
            let separator = if place == 0 { " " } else { ", " };
            write!(f, "{separator}{plan}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownPlan {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for plan in Plan::ALL {
            assert_eq!(plan.to_string().to_uppercase().parse(), Ok(plan));
        }
    }

    #[test]
    fn an_unknown_plan_is_named_with_what_was_expected() {
        let error = "gold".parse::<Plan>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""gold" is no known plan: expected one of free, starter, creator, pro, scale, business"#
        );
    }

    #[test]
    fn a_recommended_setting_leaves_room() {
        let presets = Plan::ALL.into_iter().filter_map(Plan::preset);
        for Preset { limit, recommended } in presets {
            assert!(0 < recommended && recommended < limit);
        }
    }

    #[test]
    fn a_larger_plan_never_allows_less() {
        for family in Family::ALL {
            let limits = Plan::ALL.map(|plan| plan.concurrency(family));
            assert!(limits.is_sorted(), "{limits:?}");
        }
    }

    #[test]
    fn models_are_told_apart_by_whole_words() {
        let flash = ["eleven_flash_v2", "eleven_turbo_v2", "flash"];
        let other = ["eleven_multilingual_v2", "eleven_v3", "eleven_flashy", ""];
        assert!(
            flash
                .map(Family::of_model)
                .iter()
                .all(|f| *f == Family::Flash)
        );
        assert!(
            other
                .map(Family::of_model)
                .iter()
                .all(|f| *f == Family::Multilingual)
        );
    }
}

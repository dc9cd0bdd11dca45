//! The setting that says how many requests a service may have in flight.

use std::{env, error::Error, ffi::OsStr, fmt, num::NonZeroUsize};

use tower_throttle_plans::elevenlabs::{Family, Plan};

/// How many requests to have in flight at once, as users set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxConcurrent(NonZeroUsize);

impl MaxConcurrent {
    /// The environment variable that it is read from.
    pub const VARIABLE: &'static str = "ELEVENLABS_MAX_CONCURRENT";

    /// 3, the recommended setting for the free plan: see [`Plan::preset`].
    pub const DEFAULT: Self = Self(NonZeroUsize::new(3).unwrap());

    /// Reads `ELEVENLABS_MAX_CONCURRENT`; where it is not set, the [default](Self::DEFAULT).
    ///
    /// Reads the environment only. A service with a `.env` file loads that first, with a crate for it.
    ///
    /// # Errors
    ///
    /// If it is set to anything but a positive integer, the empty text included.
    pub fn from_env() -> Result<Self, InvalidMaxConcurrent> {
        env::var_os(Self::VARIABLE).map_or(Ok(Self::DEFAULT), |value| Self::read(&value))
    }

    /// Reads a text: nothing but a positive integer.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidMaxConcurrent> {
        Self::read(OsStr::new(text))
    }

    fn read(value: &OsStr) -> Result<Self, InvalidMaxConcurrent> {
        let number = value.to_str().and_then(|text| text.parse().ok());
        number
            .map(Self)
            .ok_or_else(|| InvalidMaxConcurrent(value.to_string_lossy().into_owned()))
    }

    /// The number of requests.
    pub const fn get(self) -> usize {
        self.0.get()
    }

    /// Whether a plan allows as many: its [preset](Plan::preset)'s limit, or, where it has none, the larger
    /// one of its [families](Plan::concurrency).
    ///
    /// # Errors
    ///
    /// If it does not. The setting can be used all the same, but requests will be refused: say it loudly.
    pub fn check(self, plan: Plan) -> Result<(), AbovePlan> {
        let preset = plan.preset().map(|preset| preset.limit);
        let limit = preset.unwrap_or_else(|| plan.concurrency(Family::Flash));
        self.check_limit(plan, limit)
    }

    /// Whether a plan allows as many requests of this family: see [`Plan::concurrency`].
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn check_family(self, plan: Plan, family: Family) -> Result<(), AbovePlan> {
        self.check_limit(plan, plan.concurrency(family))
    }

    fn check_limit(self, plan: Plan, limit: usize) -> Result<(), AbovePlan> {
        if self.get() <= limit {
            return Ok(());
        }
        Err(AbovePlan {
            setting: self,
            plan,
            limit,
        })
    }
}

impl Default for MaxConcurrent {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for MaxConcurrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A [`MaxConcurrent`] was set to something that is no positive integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMaxConcurrent(String);

impl fmt::Display for InvalidMaxConcurrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = MaxConcurrent::VARIABLE;
        write!(f, "{variable} is {:?}: expected a positive integer", self.0)
    }
}

impl Error for InvalidMaxConcurrent {}

/// A setting is above what the plan allows, so requests will be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbovePlan {
    setting: MaxConcurrent,
    plan: Plan,
    limit: usize,
}

impl AbovePlan {
    /// The setting.
    pub fn setting(&self) -> MaxConcurrent {
        self.setting
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// What the plan allows.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Display for AbovePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            plan,
            limit,
        } = self;
        write!(
            f,
            "{} is {setting}, but the plan {plan} allows {limit} at once: requests above that will be refused",
            MaxConcurrent::VARIABLE
        )
    }
}

impl Error for AbovePlan {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_a_positive_integer_is_an_error_that_shows_it() {
        let huge = "99999999999999999999999";
        for text in ["", " ", "0", "-1", "3.0", " 3", "3 ", "three", "0x3", huge] {
            let error = MaxConcurrent::parse(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("ELEVENLABS_MAX_CONCURRENT is {text:?}: expected a positive integer")
            );
        }
    }

    #[test]
    fn a_positive_integer_is_itself() {
        for n in [1, 3, 50, usize::MAX] {
            assert_eq!(MaxConcurrent::parse(&n.to_string()).unwrap().get(), n);
        }
        assert_eq!(MaxConcurrent::DEFAULT.get(), 3);
    }

    #[test]
    fn a_setting_above_the_plan_is_said_with_both_numbers() {
        let setting = |text| MaxConcurrent::parse(text).unwrap();
        assert_eq!(setting("4").check(Plan::Free), Ok(()));
        let above = setting("5").check(Plan::Free).unwrap_err();
        assert_eq!(
            above.to_string(),
            "ELEVENLABS_MAX_CONCURRENT is 5, but the plan free allows 4 at once: requests above that will be refused"
        );
        assert_eq!(
            (above.setting().get(), above.plan(), above.limit()),
            (5, Plan::Free, 4)
        );
        assert_eq!(setting("30").check(Plan::Scale), Ok(()));
        assert!(setting("31").check(Plan::Business).is_err());
        assert!(
            setting("3")
                .check_family(Plan::Free, Family::Multilingual)
                .is_err()
        );
    }
}

//! A layer's settings from a file.
//!
//! [`Config`] is read by any format of serde that describes itself: TOML, JSON, YAML. Quotas are texts as
//! [`Quota`] reads them, times are texts such as `500ms`. Whatever is wrong is an error that names the key
//! and says what was expected; nothing is overlooked.
//!
//! ```
//! use tower_throttle::config::Config;
//!
//! let config: Config = toml::from_str(
//!     r#"
//!     overall = "50/s"
//!     max_wait = "30s"
//!
//!     [routes]
//!     "POST /v1/text-to-speech/{voice_id}" = "5/s, 4 at once"
//!     "GET /v1/voices" = "2/s"
//!
//!     [groups.paid]
//!     quota = "100/min"
//!     routes = ["POST /v1/text-to-speech/{voice_id}", "POST /v1/sound-generation"]
//!
//!     [retry]
//!     max_attempts = 5
//!     "#,
//! )?;
//! let layer = config.layer();
//!
//! let wrong = toml::from_str::<Config>(r#"routes."GET /v1/voices" = "2/fortnight""#);
//! let error = wrong.unwrap_err().to_string();
//! assert!(error.contains(r#"routes."GET /v1/voices": quota part "2/fortnight""#), "{error}");
//! # let _ = layer;
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! A template begins with a slash after its method. One that does not begins with a host: `GET v1/weather` is the path
//! `/weather` on the host `v1`. That is a valid template, so it is no error, and it matches no request to `/v1/weather`.
//!
//! # Keys
//!
//! All are optional, and named as the methods whose defaults hold where they are missing.
//!
//! | key | what it is |
//! |---|---|
//! | `routes` | a quota for each template: [`Endpoints::route`](crate::Endpoints::route) |
//! | `named` | a quota for each name: [`Endpoints::named`](crate::Endpoints::named) |
//! | `groups` | for each name a `quota`, and `routes`, a list of templates: [`Endpoints::group`](crate::Endpoints::group) |
//! | `overall`, `each_other_path`, `all_other_paths`, `across_partitions` | a quota |
//! | `partition_by_header` | the name of a header |
//! | `max_wait`, `max_pause` | a time |
//! | `max_waiting`, `max_keys` | a number |
//! | `learning` | `false`, or any of `concurrency`, `margin`, `rate`, `quota_headers` and `discover`, true or false: [`Learning`] |
//! | `retry` | `false`, or any of the following: [`RetryLayer`] |
//! | `retry.max_attempts` | a number, at least 1 |
//! | `retry.max_total`, `retry.max_retry_after` | a time |
//! | `retry.backoff` | `kind` (`full`, `equal` or `decorrelated`), `base` and `cap`: [`Backoff`](crate::Backoff) |
//! | `retry.budget` | `false`, or `capacity` and `per_success`: [`Budget`](crate::Budget) |
//! | `retry.statuses` | a list of status codes |
//! | `retry.trust_retry_after` | true or false |

mod error;
mod read;
mod retry;
mod value;
mod write;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use self::{retry::Retry, value::Value};
use crate::{
    admission::{CannotReload, Handle},
    bucket::Learning,
    endpoints::Endpoints,
    limit::ThrottleLayer,
    quota::Quota,
    retry::RetryLayer,
};

/// The settings of a [`ThrottleLayer`]: see the [module](self).
///
/// It is checked when it is read, so what is made of it cannot fail. Written, it is what was read, in the order of the
/// keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    routes: BTreeMap<String, Quota>,
    named: BTreeMap<String, Quota>,
    groups: BTreeMap<String, Group>,
    overall: Option<Quota>,
    others: Option<Others>,
    across_partitions: Option<Quota>,
    partition_by_header: Option<HeaderName>,
    max_wait: Option<Duration>,
    max_pause: Option<Duration>,
    max_waiting: Option<usize>,
    max_keys: Option<usize>,
    learning: Learning,
    /// `None` if nothing is retried.
    retry: Option<Retry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    quota: Quota,
    routes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Others {
    Each(Quota),
    All(Quota),
}

/// No endpoint, and all else as it is by default.
impl Default for Config {
    fn default() -> Self {
        match Self::read(Value::Map(Vec::new())) {
            Ok(config) => config,
            Err(error) => unreachable!("there is nothing that could be wrong: {error}"),
        }
    }
}

impl Config {
    /// The endpoints, with their quotas.
    ///
    /// # Panics
    ///
    /// Never: they were made once when it was read.
    pub fn endpoints(&self) -> Endpoints {
        match self.try_endpoints() {
            Ok(endpoints) => endpoints,
            Err(error) => unreachable!("it was checked: {error}"),
        }
    }

    /// What is retried; `None` if nothing is.
    pub fn retry(&self) -> Option<RetryLayer> {
        self.retry.as_ref().map(Retry::layer)
    }

    /// What answers may teach.
    pub fn learning(&self) -> Learning {
        self.learning
    }

    /// A layer with all of these settings.
    pub fn layer(&self) -> ThrottleLayer {
        let layer = ThrottleLayer::new(self.endpoints()).learn(self.learning);
        let mut layer = match self.retry() {
            Some(retry) => layer.retry(retry),
            None => layer.without_retry(),
        };
        if let Some(time) = self.max_wait {
            layer = layer.max_wait(time);
        }
        if let Some(time) = self.max_pause {
            layer = layer.max_pause(time);
        }
        if let Some(n) = self.max_waiting {
            layer = layer.max_waiting(n);
        }
        if let Some(n) = self.max_keys {
            layer = layer.max_keys(n);
        }
        layer
    }

    /// Gives a layer that runs these endpoints, as [`Handle::reload`] does, and what its answers may teach. `max_pause`
    /// and `max_keys` are set if they are there.
    ///
    /// `max_wait`, `max_waiting` and `retry` belong to services that have been made, and stay as they are.
    ///
    /// The endpoints are those of the file alone. Closures and tiers that code has added to earlier ones
    /// ([`name_by`](Endpoints::name_by), [`partition_by`](Endpoints::partition_by), [`tier_by`](Endpoints::tier_by)) are
    /// gone afterwards. To keep them, add them to [`endpoints`](Self::endpoints) again, and give that to
    /// [`Handle::reload`] and [`learning`](Self::learning) to [`Handle::set_learning`]. What was set on the layer, such as
    /// [`classify`](ThrottleLayer::classify), stays.
    ///
    /// # Errors
    ///
    /// Those of [`Handle::reload`]; nothing is changed then.
    pub fn reload(&self, handle: &Handle) -> Result<(), CannotReload> {
        handle.reload(self.endpoints())?;
        handle.set_learning(self.learning);
        if let Some(time) = self.max_pause {
            handle.set_max_pause(time);
        }
        if let Some(n) = self.max_keys {
            handle.set_max_keys(n);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(value).map_err(D::Error::custom)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write().serialize(serializer)
    }
}

/// As text: see its `FromStr`.
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Text(text) => text.parse().map_err(D::Error::custom),
            other => Err(D::Error::custom(format_args!(
                "expected {}, found {}",
                error::QUOTA,
                other.shown()
            ))),
        }
    }
}

/// As text: what its `Display` writes.
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

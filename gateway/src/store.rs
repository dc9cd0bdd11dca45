//! Where the limits are kept, if that is not this process alone.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tower_throttle::{
    ThrottleLayer,
    store::{FileStore, RedisStore, WhenAway},
};

/// What begins the URL of a server.
const SERVERS: [&str; 3] = ["redis://", "rediss://", "redis+unix://"];

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The URL may hold a password.
    Redis(String),
    File(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if SERVERS.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Redis(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(path.into()));
        }
        // No more of it, as it may hold a password.
        let scheme = text.split(':').next().unwrap_or_default();
        Err(format!(
            "expected redis://HOST[:PORT][/DB], redis+unix:///PATH or file:PATH, not \"{scheme}...\""
        ))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(_) => f.write_str("Redis"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Checks the name of a fleet.
pub(crate) fn fleet(name: &str) -> Result<(), String> {
    if (1..=256).contains(&name.len()) && !name.contains(['{', '}']) {
        return Ok(());
    }
    Err(format!(
        "expected 1 to 256 bytes without braces, not {name:?}"
    ))
}

/// What the options say of a store.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    pub(crate) place: Place,
    /// Gateways of the same fleet share their limits.
    pub(crate) fleet: String,
    /// For how long requests wait for a store that does not answer, before they go by this gateway's own limits.
    pub(crate) away: Option<Duration>,
}

impl Sharing {
    /// # Errors
    ///
    /// If the server or the file will not do, with the reason.
    pub(crate) async fn open(&self) -> Result<Store, String> {
        let said = |error| format!("--store: {error}");
        match &self.place {
            Place::Redis(url) => {
                let store = RedisStore::connect(url).await.map_err(said)?;
                let store = store.fleet(&self.fleet);
                Ok(Store::Redis(match self.away {
                    Some(after) => store.when_away(WhenAway::Unlimited, after),
                    None => store,
                }))
            }
            Place::File(path) => FileStore::open(path).map(Store::File).map_err(said),
        }
    }
}

/// A store that is open.
#[derive(Clone)]
pub(crate) enum Store {
    Redis(RedisStore),
    File(FileStore),
}

impl Store {
    /// The layer's limits are kept there.
    pub(crate) fn under(&self, layer: ThrottleLayer) -> ThrottleLayer {
        match self {
            Self::Redis(store) => layer.store(store.clone()),
            Self::File(store) => layer.store(store.clone()),
        }
    }

    /// Says what is still to be said, and ends.
    pub(crate) async fn leave(self) {
        if let Self::Redis(store) = self {
            store.leave().await;
        }
    }
}

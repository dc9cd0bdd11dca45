//! Who a key belongs to, and what that account may do.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use super::problem::Problem;
use tower_throttle_plans::elevenlabs::Plan;

/// The workspace of requests that need no key, or for which any key will do.
pub(super) const DEFAULT_WORKSPACE: &str = "default";

/// What an API key of the mock gives access to: see [`MockBuilder::key`](super::MockBuilder::key).
///
/// By default each key has a workspace of its own, with all permissions and the plan's credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub(super) plan: Plan,
    pub(super) workspace: Option<String>,
    pub(super) credits: Option<u64>,
    disabled: bool,
    pub(super) suspicious: bool,
    missing: Vec<String>,
}

impl Account {
    /// An account with this plan: its concurrency, its credits, its voices.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            workspace: None,
            credits: None,
            disabled: false,
            suspicious: false,
            missing: Vec::new(),
        }
    }

    /// Puts the key into a workspace. Keys of one workspace share its limits, credits, voices and
    /// history; the plan has to be the same for all of them.
    pub fn workspace(mut self, name: impl Into<String>) -> Self {
        self.workspace = Some(name.into());
        self
    }

    /// How many credits are left, rather than the plan's monthly ones. Of several keys of one workspace,
    /// the first that says so decides.
    pub fn credits(mut self, credits: u64) -> Self {
        self.credits = Some(credits);
        self
    }

    /// Revokes the key: it is answered as one that is not known.
    pub fn disabled(mut self) -> Self {
        self.disabled = true;
        self
    }

    /// Suspects the workspace of misuse, as the real API does with some accounts: speech and voices
    /// are refused with 401 `detected_unusual_activity`.
    pub fn unusual_activity(mut self) -> Self {
        self.suspicious = true;
        self
    }

    /// Takes a permission from the key, for example `user_read`: see the [module](super) for what needs
    /// which.
    pub fn without_permission(mut self, permission: impl Into<String>) -> Self {
        self.missing.push(permission.into());
        self
    }
}

/// Who is let in.
#[derive(Default)]
pub(super) struct Keys {
    known: Vec<Key>,
    /// Whether a key is needed although none is known.
    pub(super) required: bool,
}

struct Key {
    value: String,
    workspace: String,
    account: Account,
}

impl Keys {
    /// Lets a key in. It has to be a new one.
    #[track_caller]
    pub(super) fn add(&mut self, value: String, account: Account) {
        assert!(
            !value.is_empty(),
            "a key has to have at least one character"
        );
        // A panic's message goes into logs, where a key has no business.
        let new = self.known.iter().all(|known| known.value != value);
        assert!(new, "the same key was added twice");
        let own = format!("workspace-{}", self.known.len() + 1);
        let workspace = account.workspace.clone().unwrap_or(own);
        for other in self.of_workspace(&workspace) {
            assert!(
                other.plan == account.plan,
                "the workspace {workspace:?} has the plan {}, and so cannot have the plan {}",
                other.plan,
                account.plan
            );
        }
        self.known.push(Key {
            value,
            workspace,
            account,
        });
    }

    /// The accounts of all workspaces, by the workspace's name.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&str, &Account)> {
        let known = self.known.iter();
        known.map(|key| (key.workspace.as_str(), &key.account))
    }

    fn of_workspace(&self, name: &str) -> impl Iterator<Item = &Account> {
        let accounts = self.accounts().filter(move |(known, _)| *known == name);
        accounts.map(|(_, account)| account)
    }

    /// The workspace that a request belongs to, or why it is not let in.
    pub(super) fn workspace(&self, headers: &HeaderMap, permission: &str) -> Result<&str, Problem> {
        let key = headers.get("xi-api-key").map(HeaderValue::as_bytes);
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            if self.known.is_empty() && !self.required {
                return Ok(DEFAULT_WORKSPACE);
            }
            if headers.contains_key(header::AUTHORIZATION) {
                return Err(Problem::bad_authorization_header());
            }
            // This list does not miss the key, but the workspace.
            return Err(if permission == "models_read" {
                Problem::no_workspace()
            } else {
                Problem::no_key()
            });
        };
        if self.known.is_empty() {
            return Ok(DEFAULT_WORKSPACE);
        }
        let known = self
            .known
            .iter()
            .find(|known| known.value.as_bytes() == key);
        let Some(key) = known.filter(|key| !key.account.disabled) else {
            return Err(Problem::unknown_key());
        };
        let mut missing = key.account.missing.iter();
        if missing.any(|missing| missing == permission) {
            return Err(Problem::missing_permission(permission));
        }
        Ok(&key.workspace)
    }
}

/// Without the keys, which are secrets.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("known", &self.known.len())
            .field("required", &self.required)
            .finish()
    }
}

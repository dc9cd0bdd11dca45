//! Endpoints that a request is told apart by a name instead of its path.

use std::{borrow::Cow, fmt, sync::Arc};

use super::error::{InvalidEndpoint, Reason};
use crate::request_head::RequestHead;

/// A request extension that chooses a [named endpoint](crate::Endpoints::named), whatever the path.
/// [`Terms::endpoint`](crate::Terms::endpoint) goes before it.
///
/// For limits that do not show in the path: a model, a priority, a kind of work. A name that is not
/// configured is an error, never a silent default: the request is not sent, and the error is
/// [`UnknownEndpoint`](crate::UnknownEndpoint).
///
/// ```
/// use http::Request;
/// use tower_throttle::EndpointName;
///
/// let request = Request::post("https://api.elevenlabs.io/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM")
///     .extension(EndpointName::new("flash"))
///     .body(r#"{"model_id": "eleven_flash_v2_5", "text": "Hello"}"#)?;
/// # let _ = request;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointName(Cow<'static, str>);

impl EndpointName {
    /// The endpoint that was configured under this name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A closure that chooses a name from the head, and hands it on as a borrowed one: so it may return
/// whatever holds a string, without one being allocated for each request.
#[derive(Clone)]
pub(super) struct NameBy(Arc<Closure>);

type Closure = dyn Fn(&RequestHead<'_>, &mut dyn FnMut(&str)) + Send + Sync;

impl NameBy {
    pub(super) fn new<N: AsRef<str>>(
        name: impl Fn(&RequestHead<'_>) -> Option<N> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |head, found| {
            if let Some(name) = name(head) {
                found(name.as_ref());
            }
        }))
    }

    pub(super) fn choose<T>(
        &self,
        head: &RequestHead<'_>,
        mut look_up: impl FnMut(&str) -> T,
    ) -> Option<T> {
        let mut found = None;
        (self.0)(head, &mut |name| found = Some(look_up(name)));
        found
    }
}

impl fmt::Debug for NameBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// The names of scopes that every configuration has: see [`Endpoints`](crate::Endpoints).
pub(super) const OVERALL: &str = "overall";
pub(super) const ACROSS_PARTITIONS: &str = "across partitions";
pub(super) const EACH_OTHER_PATH: &str = "each other path";
pub(super) const ALL_OTHER_PATHS: &str = "all other paths";
pub(super) const UNMATCHED: &str = "unmatched";

/// The names under which the scopes without one are found.
const RESERVED: [&str; 5] = [
    OVERALL,
    ACROSS_PARTITIONS,
    EACH_OTHER_PATH,
    ALL_OTHER_PATHS,
    UNMATCHED,
];

/// Whether a group or a named endpoint can have this name, as far as the name alone can tell.
pub(super) fn check(name: &str) -> Result<(), InvalidEndpoint> {
    let reason = if name.is_empty() {
        Reason::Empty
    } else if RESERVED.contains(&name) {
        Reason::Reserved
    } else if name.contains('/') {
        // The slash is what tells a template from a name.
        Reason::Slash
    } else {
        return Ok(());
    };
    Err(InvalidEndpoint::name(name, reason))
}

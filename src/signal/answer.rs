//! [`Answer`]: what is looked at.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, StatusCode, header};

use super::{date, headers};

/// A response, as far as it is needed to tell what it means.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
    /// `None`: whatever the clock says when somebody asks.
    now: Option<SystemTime>,
}

impl<'a> Answer<'a> {
    /// The head of a response that arrived at `now`, by the client's clock.
    pub fn new(status: StatusCode, headers: &'a HeaderMap, now: SystemTime) -> Self {
        Self {
            status,
            headers,
            body: &[],
            now: Some(now),
        }
    }

    /// The head of a response that arrives now. The clock is read only if the time is asked for,
    /// since hardly any answer needs it, and every answer would pay.
    pub(crate) fn arriving(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self {
            status,
            headers,
            body: &[],
            now: None,
        }
    }

    /// With the beginning of the body, or all of it.
    pub fn with_body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What was peeked of the body: empty if [`Classify::wants_body`](super::Classify::wants_body) did not ask for it, and
    /// perhaps cut short.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What the clock shows that times in the answer are of: its `Date` and, if a cache has kept it, its
    /// `Age`; or else when it arrived.
    ///
    /// Absolute times mean something only on the clock that made them, which is not the client's.
    pub fn time(&self) -> SystemTime {
        let date =
            headers::texts(self.headers, &header::DATE).find_map(|date| date::parse(date.trim()));
        let date = date.and_then(|date| {
            let age = headers::age(self.headers).unwrap_or_default();
            UNIX_EPOCH.checked_add(date)?.checked_add(age)
        });
        date.or(self.now).unwrap_or_else(SystemTime::now)
    }
}

/// Without the values of headers and the body, which may be secret.
impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .field("now", &self.now)
            .finish()
    }
}

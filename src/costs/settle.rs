use std::fmt;

use http::{HeaderMap, Response, StatusCode};

use super::cost::Cost;

/// Reads from answers what their requests have cost.
///
/// Given to a limiting layer with `settle_by`. [`Usage`](crate::Usage) is one for well-known APIs.
///
/// It is asked about answers below 500 that do not throttle, of requests whose endpoint counts something besides
/// requests. One from 400 to 499 has cost nothing unless it says otherwise. It is not asked about an answer that
/// throttles or has a status from 500 on.
///
/// A later figure of a unit replaces an earlier one, and what the [`Settlement`](crate::Settlement) of the request
/// was told by hand replaces all. If nobody says anything the estimate stays.
///
/// It runs within the poll of the response future or of the body, so it must not block. A panic goes up to the caller
/// who polls, and the layer's state is consistent.
///
/// ```
/// use tower_throttle::{AnswerHead, Cost, Settle, Unit};
///
/// /// Each answer says in a header how many points it has cost.
/// struct Points;
///
/// impl Settle for Points {
///     fn head(&self, head: &AnswerHead<'_>) -> Option<Cost> {
///         let points = head.headers().get("x-points")?.to_str().ok()?;
///         Some(Cost::new().of(Unit::new("points"), points.parse().ok()?))
///     }
/// }
/// ```
pub trait Settle: Send + Sync + 'static {
    /// What the head of an answer says.
    fn head(&self, head: &AnswerHead<'_>) -> Option<Cost> {
        let _ = head;
        None
    }

    /// A reader of the body, if that may say more. Without one nothing of a body is looked at.
    fn body(&self, head: &AnswerHead<'_>) -> Option<Box<dyn SettleBody>> {
        let _ = head;
        None
    }
}

/// Reads from the body of one answer what its request has cost. See [`Settle::body`].
///
/// It sees the body as its reader polls it, and holds nothing of it back. If the body is dropped, so is this, and what
/// it has said by then stays.
///
/// ```
/// use tower_throttle::{AnswerHead, Cost, Settle, SettleBody, Unit};
///
/// /// Each byte of an answer costs a credit.
/// struct Bytes;
///
/// impl Settle for Bytes {
///     fn body(&self, head: &AnswerHead<'_>) -> Option<Box<dyn SettleBody>> {
///         head.status().is_success().then(|| Box::new(Count(0)) as _)
///     }
/// }
///
/// struct Count(u64);
///
/// impl SettleBody for Count {
///     fn chunk(&mut self, data: &[u8]) -> Option<Cost> {
///         self.0 += data.len() as u64;
///         None
///     }
///
///     fn end(&mut self) -> Option<Cost> {
///         Some(Cost::new().of(Unit::CREDITS, self.0))
///     }
/// }
/// ```
pub trait SettleBody: Send + Sync + 'static {
    /// The next data of the body, which ends anywhere.
    ///
    /// What is returned counts at once for units that are counted at dispatch, and at the body's end for those that
    /// are counted [then](crate::Unit::at_end).
    fn chunk(&mut self, data: &[u8]) -> Option<Cost>;

    /// The body has ended. Of one that failed or was dropped there is no end.
    fn end(&mut self) -> Option<Cost> {
        None
    }
}

/// The head of an answer, as [`Settle`] sees it.
#[derive(Clone, Copy)]
pub struct AnswerHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl<'a> AnswerHead<'a> {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }
}

impl<'a, B> From<&'a Response<B>> for AnswerHead<'a> {
    fn from(response: &'a Response<B>) -> Self {
        Self {
            status: response.status(),
            headers: response.headers(),
        }
    }
}

/// Says the status only: headers may hold secrets.
impl fmt::Debug for AnswerHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerHead")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

//! What the mock answers: an [`Answer`], made by a hook, or one of those below by default.

use std::{io::Write as _, mem, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{refusal::Refusal, refused_by::RefusedBy, units::Costs, work::check_time};

/// What a hook answers with: a head, and a body that is there as a whole or comes in time.
///
/// A plain `Response` with a body in memory is such an answer: hooks may return either. A body in
/// chunks goes out with the head first and each chunk when it is due, under tokio's clock. A reader that
/// is slower than that loses nothing: what has fallen due meanwhile comes as fast as it is read.
///
/// ```
/// use std::time::Duration;
///
/// use http::Response;
/// use tower_throttle_mock::{Answer, Judge, Limit, Work};
///
/// let second = Duration::from_secs(1);
/// let api = Judge::builder()
///     .route("GET /count", Limit::concurrent(1), Work::none())
///     .answer("GET /count", move |_| {
///         let answer = Answer::stream(Response::new(()));
///         answer.chunk(second, "one ").chunk(second, "two ").chunk(second, "three")
///     })
///     .build();
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) head: Response<()>,
    /// In the order in which they go out; none is due before the one ahead of it.
    pub(crate) chunks: Vec<Chunk>,
    /// Whether the body's length is known when the head goes out.
    pub(crate) whole: bool,
    /// What it cost, in units that are counted when it has ended.
    pub(crate) costs: Costs,
}

/// A part of a body, and how long after the head it is due.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) at: Duration,
    pub(crate) data: Bytes,
}

impl Answer {
    /// An answer whose body comes in chunks, of which there are none yet, and whose length nobody is
    /// told: over HTTP/1.1 it is `chunked`, unless the head has a `content-length`.
    pub fn stream(head: Response<()>) -> Self {
        Self {
            head,
            chunks: Vec::new(),
            whole: false,
            costs: Costs::default(),
        }
    }

    /// Adds a chunk that is due so long after the one before, or after the head if it is the first.
    ///
    /// An empty chunk is not sent, but the body does not end before it is due.
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn chunk(mut self, after: Duration, data: impl Into<Bytes>) -> Self {
        check_time(after);
        let before = self.chunks.last().map_or(Duration::ZERO, |chunk| chunk.at);
        self.chunks.push(Chunk {
            at: before.saturating_add(after),
            data: data.into(),
        });
        self
    }

    /// Sends a body in so many chunks of the same size (give or take a byte), evenly over this time:
    /// the first with the head, the last at the end.
    ///
    /// A body of fewer bytes has as many chunks as bytes. A single chunk comes at the end.
    ///
    /// # Panics
    ///
    /// If `chunks` is 0, or the time longer than a century.
    #[track_caller]
    pub fn spread(response: Response<Bytes>, chunks: usize, over: Duration) -> Self {
        assert!(chunks > 0, "a body cannot be sent in 0 chunks");
        check_time(over);
        let (head, mut data) = response.into_parts();
        let mut answer = Self::stream(Response::from_parts(head, ()));
        let chunks = chunks.min(data.len());
        for sent in 0..chunks {
            let at = match chunks - 1 {
                0 => over,
                gaps => share(over, sent, gaps),
            };
            let data = data.split_to(data.len() / (chunks - sent));
            answer.chunks.push(Chunk { at, data });
        }
        answer
    }

    /// Says what this answer costs of a unit, for windows that [count the unit at the
    /// end](super::Limit::units_at_end). This replaces what
    /// [`JudgeBuilder::cost_of`](super::JudgeBuilder::cost_of) said of the request.
    ///
    /// The whole cost counts when the answer ends, even if its reader goes away in the middle. A second call for a
    /// unit replaces the first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use http::Response;
    /// use tower_throttle_mock::{Answer, Judge, Limit, Work};
    ///
    /// let minute = Duration::from_secs(60);
    /// let limit = Limit::unlimited().units_at_end("output_tokens", 8_000, minute);
    /// let api = Judge::builder()
    ///     .route("POST /chat", limit, Work::none())
    ///     .answer("POST /chat", |_| {
    ///         Answer::from(Response::new(Bytes::from("Hello!"))).cost("output_tokens", 2)
    ///     })
    ///     .build();
    /// ```
    pub fn cost(mut self, unit: &'static str, n: u64) -> Self {
        self.costs.set(unit, n);
        self
    }

    /// The status and the headers.
    pub fn head(&self) -> &Response<()> {
        &self.head
    }

    /// The status and the headers, to change them.
    pub fn head_mut(&mut self) -> &mut Response<()> {
        &mut self.head
    }

    /// Compresses the body, and says so in `content-encoding`. Chunks stay chunks, each of which can be
    /// decompressed when it has come.
    ///
    /// An empty body stays empty.
    pub fn gzip(mut self) -> Self {
        if self.len() == 0 {
            return self;
        }
        compress(&mut self.chunks);
        let headers = self.head.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        let gzip = HeaderValue::from_static("gzip");
        headers.insert(header::CONTENT_ENCODING, gzip);
        self
    }

    /// Ends the body after so many bytes.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        let mut left = bytes;
        self.chunks.retain_mut(|chunk| {
            chunk.data.truncate(left);
            left -= chunk.data.len();
            !chunk.data.is_empty()
        });
    }

    /// Lets a body that is sent as a whole come so long after its head.
    pub(crate) fn whole_after(&mut self, time: Duration) {
        if self.whole {
            for chunk in &mut self.chunks {
                chunk.at = time;
            }
        }
    }

    /// How many bytes the body has.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.data.len()).sum()
    }
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        let (head, data) = response.into_parts();
        let whole = Some(data).filter(|data| !data.is_empty());
        let at = Duration::ZERO;
        Self {
            head: Response::from_parts(head, ()),
            chunks: whole.map(|data| Chunk { at, data }).into_iter().collect(),
            whole: true,
            costs: Costs::default(),
        }
    }
}

/// All of an answer at once, for where nothing takes time.
impl From<Answer> for Response<Bytes> {
    fn from(answer: Answer) -> Self {
        let chunks: Vec<_> = answer.chunks.into_iter().map(|chunk| chunk.data).collect();
        answer.head.map(|()| chunks.concat().into())
    }
}

/// So many parts of a time, of so many in all.
fn share(time: Duration, parts: usize, of: usize) -> Duration {
    let nanos = time.as_nanos() * parts as u128 / of as u128;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Makes one gzip stream of all chunks, cut where they were.
fn compress(chunks: &mut [Chunk]) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let last = chunks.len().saturating_sub(1);
    for (at, chunk) in chunks.iter_mut().enumerate() {
        let written = encoder.write_all(&chunk.data).and_then(|()| {
            if at == last {
                encoder.try_finish()
            } else {
                encoder.flush()
            }
        });
        written.expect("a vector takes everything");
        chunk.data = mem::take(encoder.get_mut()).into();
    }
}

/// What accepted requests are answered with by default.
pub(crate) fn success() -> Response<Bytes> {
    json(StatusCode::OK, r#"{"ok":true}"#)
}

/// What refused requests are answered with by default.
pub(crate) fn refusal(refusal: &Refusal) -> Response<Bytes> {
    let (error, message) = match refusal.by {
        RefusedBy::Units { .. } => return refusal_by_units(refusal),
        RefusedBy::Rate { limit, period } => (
            "rate_limit_exceeded",
            format!("{limit} requests per {period:?} are allowed here"),
        ),
        RefusedBy::Concurrency { limit } => (
            "too_many_concurrent_requests",
            format!("{limit} requests at once are allowed here"),
        ),
    };
    let body = format!(r#"{{"error":"{error}","message":"{message}"}}"#);
    json(StatusCode::TOO_MANY_REQUESTS, body)
}

/// Names the unit and the exact time at which there is room, in the body and in headers. The headers are
/// those of the large vendors. They are left out if a header's name cannot hold the unit's.
fn refusal_by_units(refusal: &Refusal) -> Response<Bytes> {
    let RefusedBy::Units {
        unit,
        limit,
        period,
        used,
        requested,
    } = refusal.by
    else {
        unreachable!("the caller has looked");
    };
    let (error, room) = match refusal.room_in {
        Some(room_in) => {
            let seconds = room_in.as_secs_f64();
            (
                "rate_limit_exceeded",
                format!(r#","retry_after":{seconds}"#),
            )
        }
        None => ("request_too_large", String::new()),
    };
    let message = format!("{limit} {unit} per {period:?} are allowed here");
    let unit_text = serde_json::Value::from(unit);
    let message = serde_json::Value::from(message);
    let body = format!(
        r#"{{"error":"{error}","message":{message},"unit":{unit_text},"limit":{limit},"used":{used},"requested":{requested}{room}}}"#
    );
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, body);
    let room_in = refusal.room_in.unwrap_or_default().as_secs_f64();
    let figures = [
        ("limit", limit.to_string()),
        ("remaining", limit.saturating_sub(used).to_string()),
        ("reset", format!("{room_in}s")),
    ];
    for (what, figure) in figures {
        let name = format!("x-ratelimit-{what}-{unit}");
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(figure)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub(crate) fn not_found() -> Response<Bytes> {
    json(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#)
}

pub(crate) fn method_not_allowed() -> Response<Bytes> {
    let body = r#"{"detail":"Method Not Allowed"}"#;
    json(StatusCode::METHOD_NOT_ALLOWED, body)
}

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// What a scheduled fault answers with by default.
pub(crate) fn fault(status: StatusCode) -> Response<Bytes> {
    let reason = status.canonical_reason().unwrap_or("Unknown");
    json(status, format!(r#"{{"error":"{reason}"}}"#))
}

#[cfg(test)]
mod tests {
    use flate2::write::GzDecoder;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn three() -> Answer {
        let answer = Answer::stream(Response::new(()));
        answer
            .chunk(SECOND, "one ")
            .chunk(SECOND, "two ")
            .chunk(SECOND, "three")
    }

    #[test]
    fn each_compressed_chunk_says_as_much_as_it_did() {
        let answer = three().gzip();
        let encoding = &answer.head().headers()[header::CONTENT_ENCODING];
        assert_eq!(encoding, "gzip");
        let mut decoder = GzDecoder::new(Vec::new());
        let mut said = Vec::new();
        for chunk in &answer.chunks {
            decoder.write_all(&chunk.data).unwrap();
            decoder.flush().unwrap();
            said.push((
                chunk.at,
                String::from_utf8(decoder.get_ref().clone()).unwrap(),
            ));
        }
        decoder.finish().unwrap();
        let expected = [
            (SECOND, "one ".to_owned()),
            (2 * SECOND, "one two ".to_owned()),
            (3 * SECOND, "one two three".to_owned()),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn nothing_is_not_compressed() {
        let answer = Answer::from(Response::new(Bytes::new())).gzip();
        assert_eq!((answer.len(), answer.head().headers().len()), (0, 0));
    }

    #[test]
    fn a_compressed_body_has_another_length() {
        let mut answer = Answer::from(Response::new(Bytes::from_static(b"text")));
        let headers = answer.head_mut().headers_mut();
        headers.insert(header::CONTENT_LENGTH, 4.into());
        let answer = answer.gzip();
        assert!(answer.whole && answer.len() != 4);
        assert!(!answer.head().headers().contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn a_body_is_cut_in_the_middle_of_a_chunk() {
        for (bytes, expected) in [(0, ""), (4, "one "), (6, "one tw"), (99, "one two three")] {
            let mut answer = three();
            answer.truncate(bytes);
            let cut: Response<Bytes> = answer.into();
            assert_eq!(cut.body(), expected);
        }
    }

    #[test]
    fn a_share_of_any_time_is_no_overflow() {
        assert_eq!(share(SECOND, 1, 3), Duration::from_nanos(333_333_333));
        assert_eq!(share(Duration::MAX, 1, 1), Duration::from_nanos(u64::MAX));
    }
}

//! What the API's answers have in common: headers as captured.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    ids::Ids,
    problem::{Dialect, Problem},
};
use crate::{Answer, answer};

/// From this size on the API compresses JSON, for clients that take it.
const COMPRESSED_FROM: usize = 500;

/// On every answer.
const COMMON: [(HeaderName, &str); 8] = [
    (header::SERVER, "uvicorn"),
    (header::VIA, "1.1 google"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=1800;"),
    (HeaderName::from_static("x-region"), "us-central1"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        "POST, PATCH, OPTIONS, DELETE, GET, PUT",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];

/// Makes answers out of what there is to say.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) ids: Ids,
    pub(super) dialect: Dialect,
}

impl Responder {
    /// A success, in JSON.
    pub(super) fn json(&self, request: &HeaderMap, body: impl Into<Bytes>) -> Response<Bytes> {
        self.finish(request, answer::json(StatusCode::OK, body))
    }

    /// A refusal.
    pub(super) fn problem(&self, request: &HeaderMap, problem: &Problem) -> Response<Bytes> {
        let trace = self.ids.trace();
        let body = problem.body(self.dialect, &trace);
        let mut response = answer::json(problem.status, body);
        put(response.headers_mut(), X_TRACE_ID, &trace);
        self.finish(request, response)
    }

    /// A refusal whose length is not known in advance if it is compressed.
    pub(super) fn chunked_problem(&self, request: &HeaderMap, problem: &Problem) -> Answer {
        let response = self.problem(request, problem);
        if !response.headers().contains_key(header::CONTENT_ENCODING) {
            return response.into();
        }
        let (head, body) = response.into_parts();
        let head = Response::from_parts(head, ());
        Answer::stream(head).chunk(Duration::ZERO, body)
    }

    /// A refusal for whoever may ask, and so not compressed.
    pub(super) fn plain_problem(&self, problem: &Problem) -> Response<Bytes> {
        self.problem(&HeaderMap::new(), problem)
    }

    /// Adds what all answers in JSON have in common, and compresses those that are worth it.
    pub(super) fn finish(
        &self,
        request: &HeaderMap,
        mut response: Response<Bytes>,
    ) -> Response<Bytes> {
        self.put_common(response.headers_mut());
        let vary = HeaderValue::from_static("Accept-Language, Accept-Encoding");
        response.headers_mut().insert(header::VARY, vary);
        if response.body().len() < COMPRESSED_FROM || !takes_gzip(request) {
            return response;
        }
        let (head, body) = response.into_parts();
        let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
        let written = compressed.write_all(&body);
        let body = written.and_then(|()| compressed.finish());
        let body = body.expect("a vector takes everything");
        let mut response = Response::from_parts(head, Bytes::from(body));
        let gzip = HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, gzip);
        response
    }

    /// Adds the headers of every answer.
    pub(super) fn put_common(&self, headers: &mut HeaderMap) {
        for (name, value) in COMMON {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if !headers.contains_key(X_TRACE_ID) {
            put(headers, X_TRACE_ID, &self.ids.trace());
        }
        let vary = HeaderValue::from_static("Accept-Language");
        headers.insert(header::VARY, vary);
    }
}

const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Sets a header whose value is one of the mock's own making.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &impl ToString) {
    let value = HeaderValue::try_from(value.to_string());
    headers.insert(name, value.expect("the mock's ids and numbers are ASCII"));
}

fn takes_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING);
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .any(|coding| match coding.trim().split_once(';') {
            None => coding.trim().eq_ignore_ascii_case("gzip"),
            Some((name, weight)) => {
                let refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
                name.trim().eq_ignore_ascii_case("gzip") && !refused
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_say_so() {
        let takes = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
        };
        assert!(takes("gzip"));
        assert!(takes("deflate, GZIP;q=0.5"));
        assert!(!takes("gzip;q=0, br"));
        assert!(!takes("identity"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}

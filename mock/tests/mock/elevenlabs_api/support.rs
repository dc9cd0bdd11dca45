//! What the tests of the mock ElevenLabs have in common.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::Service;
use tower_throttle_mock::{ResponseFuture, elevenlabs::MockElevenLabs};

pub(crate) const RACHEL: &str = "21m00Tcm4TlvDq8ikWAM";

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request, with `name: value` headers.
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: &str, path: impl Into<String>) -> Self {
        Self {
            method: method.parse().unwrap(),
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// Speech, with this body and this end of the path.
    pub(crate) fn speak(voice: &str, rest: &str, body: &Value) -> Self {
        let path = format!("/v1/text-to-speech/{voice}{rest}");
        Self::new("POST", path).json(body)
    }

    /// A form to clone a voice.
    pub(crate) fn clone_voice(parts: &[(&str, &str)]) -> Self {
        let parts = parts.iter().map(|(name, value)| {
            format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        });
        let form: String = parts.chain(["--x--\r\n".to_owned()]).collect();
        Self::new("POST", "/v1/voices/add")
            .header("content-type", "multipart/form-data; boundary=x")
            .body(form)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("xi-api-key", key)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn request(self) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(self.body)).unwrap()
    }

    pub(crate) fn call(self, mock: &MockElevenLabs) -> ResponseFuture {
        mock.clone().call(self.request())
    }

    /// Sends it, and reads the answer to its end.
    pub(crate) async fn send(self, mock: &MockElevenLabs) -> Answer {
        let (head, body) = self.call(mock).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer(Response::from_parts(head, body))
    }
}

/// An answer that has come completely.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Response<Bytes>);

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        self.0.body()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.0.body()).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The answer's status, and the word that it is refused with.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let detail = &self.json()["detail"];
        let word = detail["status"].as_str();
        let kind = word.or_else(|| detail[0]["type"].as_str());
        let word = kind.unwrap_or_default().to_owned();
        (self.status().as_u16(), word)
    }
}

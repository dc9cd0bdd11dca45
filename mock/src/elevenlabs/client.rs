//! A small typed client, for demos and tests.

use std::{fmt, future::poll_fn};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::BoxError;
use tower_service::Service;

use crate::path::percent_encode;

/// Where the real API is.
const BASE_URL: &str = "https://api.elevenlabs.io";

/// A client of the two endpoints, over any HTTP client service: the mock itself, or a real client,
/// with whatever layers are on top.
///
/// Each call takes a clone of the service, makes it ready and uses it, so calls run at the same time
/// as far as the service lets them. Answers are read to their end. Dropping a call's future cancels it.
#[derive(Clone, Debug)]
pub struct Client<S> {
    service: S,
    base_url: String,
}

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The API answered with a status other than 2xx.
    Status {
        /// The answer's status.
        status: StatusCode,
        /// The answer's body, whole.
        body: Bytes,
    },
    /// The API answered with success, but not with what the endpoint promises.
    Answer {
        /// The answer's body, whole.
        body: Bytes,
    },
    /// There is no answer: the service, the answer's body, or the base URL failed.
    Service(BoxError),
}

impl<S> Client<S> {
    /// A client of the real API's address, which a mock as a service does not look at.
    pub fn new(service: S) -> Self {
        let base_url = BASE_URL.to_owned();
        Self { service, base_url }
    }

    /// Calls another address, for example `http://127.0.0.1:8080`. A slash at its end makes no
    /// difference.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self.base_url
            .truncate(self.base_url.trim_end_matches('/').len());
        self
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.service
    }

    /// Clones a voice from a sample (of silence), and answers with its id.
    ///
    /// # Errors
    ///
    /// As [`Error`] says; a 429 is an [`Error::Status`].
    pub async fn clone_voice<B>(&self, name: &str) -> Result<String, Error>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let (boundary, form) = form(name);
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let answer = self.post("/v1/voices/add", &content_type, form).await?;
        let voice: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match &voice["voice_id"] {
            Value::String(id) => Ok(id.clone()),
            _ => Err(Error::Answer { body: answer }),
        }
    }

    /// Lets a voice speak a text, and answers with the audio.
    ///
    /// # Errors
    ///
    /// As [`Error`] says; a 429 is an [`Error::Status`].
    pub async fn tts<B>(&self, voice_id: &str, text: &str) -> Result<Bytes, Error>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let path = format!("/v1/text-to-speech/{}", percent_encode(voice_id));
        let body = json!({"text": text}).to_string();
        self.post(&path, "application/json", body).await
    }

    async fn post<B>(&self, path: &str, content_type: &str, body: String) -> Result<Bytes, Error>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let request = Request::post(format!("{}{path}", self.base_url))
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::from(body))
            .map_err(|error| Error::Service(error.into()))?;
        // The clone that was made ready is the one that is called: readiness is not shared.
        let mut service = self.service.clone();
        poll_fn(|cx| service.poll_ready(cx))
            .await
            .map_err(|error| Error::Service(error.into()))?;
        let response = service.call(request).await;
        let (head, body) = response
            .map_err(|error| Error::Service(error.into()))?
            .into_parts();
        let body = body.collect().await;
        let body = body
            .map_err(|error| Error::Service(error.into()))?
            .to_bytes();
        if head.status.is_success() {
            Ok(body)
        } else {
            let status = head.status;
            Err(Error::Status { status, body })
        }
    }
}

impl Error {
    /// The status that the API answered with, if it is what failed.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, body } => {
                write!(f, "the API answered {status}: {}", body.escape_ascii())
            }
            Self::Answer { body } => {
                write!(
                    f,
                    "the API's answer has no voice_id: {}",
                    body.escape_ascii()
                )
            }
            Self::Service(_) => f.write_str("the API gave no answer"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Status { .. } | Self::Answer { .. } => None,
            Self::Service(error) => Some(&**error),
        }
    }
}

/// A multipart form with the voice's name and one sample, and its boundary.
fn form(name: &str) -> (String, String) {
    // Any boundary will do that does not occur in the name.
    let mut boundary = String::from("tower-throttle");
    while name.contains(&boundary) {
        boundary.push('-');
    }
    let form = format!(
        "--{boundary}\r\n\
         content-disposition: form-data; name=\"name\"\r\n\r\n\
         {name}\r\n\
         --{boundary}\r\n\
         content-disposition: form-data; name=\"files\"; filename=\"sample.mp3\"\r\n\
         content-type: audio/mpeg\r\n\r\n\
         silence\r\n\
         --{boundary}--\r\n"
    );
    (boundary, form)
}

//! The providers: text goes in, audio comes out.
//!
//! | | provider | request |
//! |---|---|---|
//! | dialogue | ElevenLabs | `POST /v1/text-to-speech/{voice}`, key in `xi-api-key` |
//! | narration | anything that speaks OpenAI's protocol, such as a bridge to Edge TTS | `POST /v1/audio/speech` |
//!
//! Both pass one `ThrottleLayer`: see [`limits`](crate::limits). Below it, each attempt is seen
//! at the instant at which it is sent.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_service::Service;
use tower_throttle::{Attempt, BoxError, Idempotent};

use crate::{
    base_url::BaseUrl, http_client::as_io_error, limits::Limits, progress::Voicing, split::Kind,
};

/// The longest audio of one segment, in bytes: more than an hour at 128 kbit/s, and so no segment's.
const MAX_AUDIO: usize = 64 << 20;

/// The longest of other answers, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// For how long an answer may take to begin, and then to end. As ElevenLabs' own SDKs have it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(240);

/// For how long the subscription may take to be read.
const SUBSCRIPTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a segment is asked for whose audio breaks off. (What fails before that is the retry layer's,
/// which has the same number.)
const ATTEMPTS: u32 = 3;

/// The service of one provider, with the limits around it.
type Governed =
    BoxCloneSyncService<Request<Full<Bytes>>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Who voices dialogue.
#[derive(Clone, Debug)]
pub struct ElevenLabs {
    /// Where the API is.
    pub base: BaseUrl,
    /// The key; marked as sensitive, so that no log shows it.
    pub key: HeaderValue,
    /// The voice's id.
    pub voice: String,
    /// The model's id.
    pub model: String,
}

/// Who voices narration.
#[derive(Clone, Debug)]
pub struct Narrator {
    /// Where the API is.
    pub base: BaseUrl,
    /// `Bearer` and the key, if there is one; marked as sensitive.
    pub authorization: Option<HeaderValue>,
    /// The voice's name.
    pub voice: String,
    /// The model's name.
    pub model: String,
}

/// Both providers. Clones share everything.
#[derive(Clone, Debug)]
pub struct Speech {
    elevenlabs: ElevenLabs,
    narrator: Narrator,
    dialogue: Governed,
    narration: Governed,
    limits: Limits,
}

/// What the API says of the account that the key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Subscription {
    /// The plan.
    pub tier: String,
    /// Characters used in this period.
    pub character_count: u64,
    /// Characters that may be used in it.
    pub character_limit: u64,
}

/// Why a provider did not do what it was asked for.
#[derive(Debug)]
pub struct Error {
    /// The provider's name.
    pub provider: &'static str,
    /// What it did instead.
    pub problem: Problem,
}

/// What a provider did instead.
#[derive(Debug)]
pub enum Problem {
    /// It answered with a status that is no success.
    Status {
        /// The status.
        status: StatusCode,
        /// What it said about it.
        message: String,
    },
    /// It answered with success, and with nothing or something else.
    Answer(&'static str),
    /// It could not be reached, or its answer broke off.
    Broken(BoxError),
}

impl Speech {
    /// Both providers under these limits, over services that send requests: clients, or the mocks
    /// themselves.
    pub fn new<D, N, BD, BN>(
        elevenlabs: ElevenLabs,
        dialogue: D,
        narrator: Narrator,
        narration: N,
        limits: Limits,
    ) -> Self
    where
        D: Service<Request<Full<Bytes>>, Response = Response<BD>> + Clone + Send + Sync + 'static,
        D::Error: Into<BoxError>,
        D::Future: Send + 'static,
        BD: http_body::Body<Data = Bytes> + Send + 'static,
        BD::Error: Into<BoxError> + Send,
        N: Service<Request<Full<Bytes>>, Response = Response<BN>> + Clone + Send + Sync + 'static,
        N::Error: Into<BoxError>,
        N::Future: Send + 'static,
        BN: http_body::Body<Data = Bytes> + Send + 'static,
        BN::Error: Into<BoxError> + Send,
    {
        Self {
            dialogue: govern(dialogue, &limits),
            narration: govern(narration, &limits),
            elevenlabs,
            narrator,
            limits,
        }
    }

    /// Voices a text, when its turn has come. Dropping the future gives its turn to the next.
    ///
    /// # Errors
    ///
    /// If the provider has failed, and has been asked again where that may help.
    pub async fn voice(&self, text: &str, voicing: Voicing) -> Result<Bytes, Error> {
        let (provider, service) = match voicing.kind {
            Kind::Dialogue => ("ElevenLabs", &self.dialogue),
            Kind::Narration => ("the narrator", &self.narration),
        };
        let mut attempt = 1;
        loop {
            let request = self.request(text, &voicing);
            let problem = match fetch(service, request, MAX_AUDIO).await {
                Ok(audio) if audio.is_empty() => Problem::Answer("no audio"),
                Ok(audio) => return Ok(audio),
                Err(Fetched::Problem(problem)) => problem,
                Err(Fetched::BrokeOff(error)) => {
                    self.limits.network_failed();
                    if attempt < ATTEMPTS {
                        tracing::warn!("an answer of {provider} broke off ({error}): asking again");
                        attempt += 1;
                        continue;
                    }
                    Problem::Broken(error)
                }
            };
            return Err(Error { provider, problem });
        }
    }

    /// Asks ElevenLabs for the account's quota.
    ///
    /// # Errors
    ///
    /// If it does not say.
    pub async fn subscription(&self) -> Result<Subscription, Error> {
        let ElevenLabs { base, key, .. } = &self.elevenlabs;
        let request = Request::get(base.join("/v1/user/subscription"))
            .header("xi-api-key", key)
            .body(Full::default())
            .expect("all parts are valid");
        let fetched = timeout(
            SUBSCRIPTION_TIMEOUT,
            fetch(&self.dialogue, request, MAX_ANSWER),
        );
        let problem = match fetched.await {
            Ok(Ok(answer)) => match serde_json::from_slice(&answer) {
                Ok(subscription) => return Ok(subscription),
                Err(_) => Problem::Answer("something that is no subscription"),
            },
            Ok(Err(Fetched::Problem(problem))) => problem,
            Ok(Err(Fetched::BrokeOff(error))) => Problem::Broken(error),
            Err(_) => Problem::Broken(no_answer(SUBSCRIPTION_TIMEOUT)),
        };
        Err(Error {
            provider: "ElevenLabs",
            problem,
        })
    }

    /// The model that voices dialogue.
    pub fn model(&self) -> &str {
        &self.elevenlabs.model
    }

    /// The limits that both providers are under.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn request(&self, text: &str, voicing: &Voicing) -> Request<Full<Bytes>> {
        let (request, body) = match voicing.kind {
            Kind::Dialogue => {
                let ElevenLabs {
                    base,
                    key,
                    voice,
                    model,
                } = &self.elevenlabs;
                let uri = base.join(&format!("/v1/text-to-speech/{voice}"));
                let body = json!({"text": text, "model_id": model});
                (Request::post(uri).header("xi-api-key", key), body)
            }
            Kind::Narration => {
                let Narrator {
                    base,
                    authorization,
                    voice,
                    model,
                } = &self.narrator;
                let mut request = Request::post(base.join("/v1/audio/speech"));
                if let Some(authorization) = authorization {
                    request = request.header(header::AUTHORIZATION, authorization);
                }
                let format = "mp3";
                let body = json!({"model": model, "voice": voice, "input": text, "response_format": format});
                (request, body)
            }
        };
        let mut request = request
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "audio/mpeg")
            .body(Full::from(body.to_string()))
            .expect("all parts are valid");
        let extensions = request.extensions_mut();
        Limits::apply(voicing.kind, extensions);
        // To voice a segment twice is paid for twice, and does no harm.
        extensions.insert(Idempotent);
        extensions.insert(voicing.clone());
        request
    }
}

fn govern<S, B>(service: S, limits: &Limits) -> Governed
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let watched = Watched {
        inner: service,
        limits: limits.clone(),
    };
    let governed = limits.layer().layer(watched);
    // The permit is in the body, and ends with it.
    let boxed = |response: Response<_>| {
        response.map(|body: tower_throttle::Body<B>| body.map_err(Into::into).boxed_unsync())
    };
    BoxCloneSyncService::new(governed.map_response(boxed))
}

/// Says what is sent and when, gives no answer longer than it should take, and notices a bad network.
#[derive(Clone, Debug)]
struct Watched<S> {
    inner: S,
    limits: Limits,
}

impl<S, B> Service<Request<Full<Bytes>>> for Watched<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let attempt = request.extensions().get().map_or(1, Attempt::number);
        if let Some(voicing) = request.extensions().get::<Voicing>() {
            voicing.starts(attempt, &self.limits);
        }
        let answer = self.inner.call(request);
        let limits = self.limits.clone();
        Box::pin(async move {
            let error = match timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => as_io_error(error.into()),
                Err(_) => no_answer(ANSWER_TIMEOUT),
            };
            limits.network_failed();
            Err(error)
        })
    }
}

/// An [`io::Error`], so that the retry layer knows it.
fn no_answer(time: Duration) -> BoxError {
    let message = format!("no answer within {} s", time.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, message).into()
}

enum Fetched {
    Problem(Problem),
    /// In the middle of a success.
    BrokeOff(BoxError),
}

/// Sends a request, and reads the answer to its end.
async fn fetch(
    service: &Governed,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<Bytes, Fetched> {
    let problem = |problem| Err(Fetched::Problem(problem));
    let response = match service.clone().oneshot(request).await {
        Ok(response) => response,
        Err(error) => return problem(Problem::Broken(error)),
    };
    let status = response.status();
    let max_bytes = if status.is_success() {
        max_bytes
    } else {
        MAX_ANSWER
    };
    // Boxed, or the compiler cannot tell that tasks may do this.
    let body = Limited::new(response.into_body(), max_bytes)
        .collect()
        .boxed();
    let body = match timeout(ANSWER_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(no_answer(ANSWER_TIMEOUT)),
    };
    if !status.is_success() {
        let message = message(&body.unwrap_or_default());
        return problem(Problem::Status { status, message });
    }
    body.or_else(|error| {
        if error.is::<LengthLimitError>() {
            return problem(Problem::Answer("more than any segment can be"));
        }
        Err(Fetched::BrokeOff(error))
    })
}

/// What an error's body says: the message, where it is an object that is known to have one.
fn message(body: &[u8]) -> String {
    /// Enough for a message, and not enough to flood a log with a page of HTML.
    const MAX: usize = 500;
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    // ElevenLabs; OpenAI; simpler ones.
    let known = [
        "/detail/message",
        "/detail",
        "/error/message",
        "/error",
        "/message",
    ];
    let known = known.iter().find_map(|path| json.pointer(path)?.as_str());
    match known {
        Some(message) => message.chars().take(MAX).collect(),
        None => String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(MAX)
            .collect(),
    }
}

impl Error {
    /// The status that the provider answered with, if it is that.
    pub fn status(&self) -> Option<StatusCode> {
        match self.problem {
            Problem::Status { status, .. } => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = self.provider;
        match &self.problem {
            Problem::Status { status, message } if message.is_empty() => {
                write!(f, "{provider} answered {status}")
            }
            Problem::Status { status, message } => {
                write!(f, "{provider} answered {status}: {message}")
            }
            Problem::Answer(what) => write!(f, "{provider} answered with {what}"),
            Problem::Broken(error) => {
                write!(f, "{provider} could not be reached, or broke off: {error}")?;
                // What hyper's client says is only in the sources.
                let mut next = error.source();
                while let Some(cause) = next {
                    write!(f, ": {cause}")?;
                    next = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.problem {
            Problem::Broken(error) => Some(&**error),
            _ => None,
        }
    }
}

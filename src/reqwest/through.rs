use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::Client;
use crate::{BoxError, Terms};

mod sealed {
    pub trait Sealed: Sized {}

    impl Sealed for reqwest::RequestBuilder {}
}

/// Sends what a `reqwest::RequestBuilder` has built through a [`Client`] with limits.
///
/// ```
/// use tower_throttle::{
///     BoxError, Priority, Terms,
///     reqwest::{Client, ThrottleExt},
/// };
///
/// async fn speak(client: &Client, text: &str) -> Result<Vec<u8>, BoxError> {
///     let response = client
///         .http()
///         .post("http://localhost:8000/v1/text-to-speech/narrator")
///         .json(&[text])
///         .through(client)
///         .terms(Terms::new().priority(Priority::HIGH))
///         .send()
///         .await?;
///     Ok(response.error_for_status()?.bytes().await?.into())
/// }
/// # let _ = speak;
/// ```
///
/// Implemented for `reqwest::RequestBuilder`, and for nothing else.
pub trait ThrottleExt: sealed::Sealed {
    /// Takes the request out of the builder, to be sent by `client`.
    ///
    /// The builder's own client is left aside. A request that could not be built fails in [`Prepared::send`].
    fn through<S: Clone>(self, client: &Client<S>) -> Prepared<S>;
}

impl ThrottleExt for reqwest::RequestBuilder {
    fn through<S: Clone>(self, client: &Client<S>) -> Prepared<S> {
        Prepared {
            request: self.build().and_then(TryInto::try_into),
            client: client.clone(),
        }
    }
}

/// A request and the client that is to send it: see [`ThrottleExt::through`].
#[must_use = "a request is sent by `send`"]
pub struct Prepared<S> {
    request: Outcome,
    client: Client<S>,
}

type Outcome = reqwest::Result<Request<reqwest::Body>>;

impl<S> Prepared<S> {
    /// What the request asks of the limits: its cost, its class, its deadline, its endpoint. They replace those that
    /// were given before.
    pub fn terms(self, terms: Terms) -> Self {
        self.extension(terms)
    }

    /// Adds an extension to the request, for the closures and the layers that look for one: `partition_by`, say. It
    /// replaces one of the same type.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, extension: T) -> Self {
        if let Ok(request) = &mut self.request {
            request.extensions_mut().insert(extension);
        }
        self
    }

    /// Sends the request, as [`Client::execute`] does.
    ///
    /// # Errors
    ///
    /// As [`Client::execute`]; reqwest's, if the request could not be built.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request, wherever it is.
    pub fn send<B>(self) -> impl Future<Output = Result<reqwest::Response, BoxError>> + use<S, B>
    where
        S: Service<Request<reqwest::Body>, Response = Response<B>, Error: Into<BoxError>> + Clone,
        B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { request, client } = self;
        async move { client.execute(request?).await }
    }
}

/// Without the request, whose headers may hold a key.
impl<S> fmt::Debug for Prepared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Prepared");
        match &self.request {
            Ok(request) => out.field("method", request.method()),
            Err(error) => out.field("error", error),
        };
        out.finish_non_exhaustive()
    }
}

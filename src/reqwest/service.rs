use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use reqwest::ResponseBuilderExt as _;
use tower_service::Service;

use super::body::into_reqwest;
use crate::BoxError;

/// reqwest's client as a service that takes `http::Request`s and gives `http::Response`s.
///
/// It is always ready, and clones share the client's pool of connections. Request bodies are any that
/// are `Send`: those in memory (`Full<Bytes>`, `String`, `reqwest::Body`, ...) are sent with their length,
/// all others as they come. Response bodies stream.
///
/// A request's URI has to be absolute. Settings of the client apply to what this sends: default headers
/// (which layers above do not see), proxies, timeouts (which so begin when the request is sent, and not
/// when it begins to wait for its turn). So does the timeout of a single `reqwest::Request`.
///
/// # Errors
///
/// reqwest's, as they came.
///
/// # Cancellation
///
/// Dropping the response future or the body ends the request: over HTTP/1.1 with its connection, over
/// HTTP/2 with its stream.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_throttle::{Endpoints, Quota, ThrottleLayer, reqwest::ReqwestService};
///
/// # fn main() -> Result<(), reqwest::Error> {
/// let http = ReqwestService::build(reqwest::Client::builder().user_agent("me/1.0"))?;
/// let client = ServiceBuilder::new()
///     .layer(ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5))))
///     .service(http);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestService {
    client: reqwest::Client,
}

impl ReqwestService {
    /// Builds a client that sends what it is given, and nothing by itself: it follows no redirects and
    /// retries nothing, since such requests would pass no limit.
    ///
    /// What it would have retried (streams that an HTTP/2 server has refused, or not accepted any more) is
    /// retried by our layers, at their turn. Where redirects are wanted, put tower-http's
    /// `FollowRedirectLayer` above the limits.
    ///
    /// # Errors
    ///
    /// Those of [`reqwest::ClientBuilder::build`].
    pub fn build(builder: reqwest::ClientBuilder) -> reqwest::Result<Self> {
        builder
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map(Self::new)
    }

    /// Sends with this client, as it is.
    ///
    /// What it sends by itself passes no limit: by default it follows up to ten redirects, and sends again
    /// what an HTTP/2 server has refused. If it cannot connect to where it was redirected, that looks like
    /// a request which was never sent, and our layers send the first one again, even a `POST` to which the
    /// server said 303. [`build`](Self::build) switches both off.
    pub fn new(client: reqwest::Client) -> Self {
        Self { client }
    }

    /// The client, to make requests with.
    pub fn get_ref(&self) -> &reqwest::Client {
        &self.client
    }

    /// The client alone.
    pub fn into_inner(self) -> reqwest::Client {
        self.client
    }
}

impl From<reqwest::Client> for ReqwestService {
    /// See [`ReqwestService::new`].
    fn from(client: reqwest::Client) -> Self {
        Self::new(client)
    }
}

impl<B> Service<Request<B>> for ReqwestService
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = reqwest::Request::try_from(request.map(into_reqwest));
        ResponseFuture {
            state: match request {
                Ok(request) => State::Sent {
                    future: self.client.call(request),
                },
                Err(error) => State::Invalid { error: Some(error) },
            },
        }
    }
}

pin_project! {
    /// The response of [`ReqwestService`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct ResponseFuture {
        #[pin]
        state: State,
    }
}

type Sent = <reqwest::Client as Service<reqwest::Request>>::Future;

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State {
        Sent { #[pin] future: Sent },
        /// It is no request for reqwest.
        Invalid { error: Option<reqwest::Error> },
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<reqwest::Body>, reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Sent { future } => Poll::Ready(ready!(future.poll(cx)).map(from_reqwest)),
            StateProj::Invalid { error } => {
                Poll::Ready(Err(error.take().expect("polled after it was ready")))
            }
        }
    }
}

/// Its URL goes along, for [`into_response`].
fn from_reqwest(response: reqwest::Response) -> Response<reqwest::Body> {
    let mut url = Response::builder().url(response.url().clone());
    let mut response = Response::from(response);
    if let Some(url) = url.extensions_mut() {
        response.extensions_mut().extend(std::mem::take(url));
    }
    response
}

/// The answer of a stack as reqwest's own: for `json`, `text`, `bytes_stream`, `error_for_status` ...
///
/// Its body is the one that it was, so the permit ends with it: when it has been read to its end, has
/// failed, or is dropped with the response. What reqwest leaves with its answers is there again: `url`,
/// `remote_addr`, `upgrade`. Of an answer that does not come from reqwest, `url` is a placeholder.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_throttle::{
///     BoxError, Endpoints, Quota, ThrottleLayer,
///     reqwest::{ReqwestService, into_response},
/// };
///
/// async fn voices(http: ReqwestService) -> Result<String, BoxError> {
///     let client = ServiceBuilder::new()
///         .layer(ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5))))
///         .service(http);
///     let request = http::Request::get("http://localhost:8000/v1/voices").body(String::new())?;
///     let response = into_response(client.oneshot(request).await?);
///     Ok(response.error_for_status()?.text().await?)
/// }
/// # let _ = voices;
/// ```
pub fn into_response<B>(response: Response<B>) -> reqwest::Response
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
{
    response.map(into_reqwest).into()
}

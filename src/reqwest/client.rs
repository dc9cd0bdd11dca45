use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::into_response;
use crate::BoxError;

/// A stack of layers with reqwest's types outside: what goes in is a `reqwest::Request`, what comes out
/// is a `reqwest::Response`.
///
/// Its permit ends with the response's body, as everywhere here.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_throttle::{
///     BoxError, Endpoints, Quota, ThrottleLayer,
///     reqwest::{Client, ReqwestService},
/// };
///
/// async fn speak() -> Result<Vec<u8>, BoxError> {
///     let http = ReqwestService::build(reqwest::Client::builder())?;
///     let endpoints = Endpoints::new()
///         .route("POST /v1/text-to-speech/{voice_id}", Quota::per_second(5).concurrency(4));
///     // Made once: clones of it share the limits.
///     let client = Client::new(
///         ServiceBuilder::new()
///             .layer(ThrottleLayer::new(endpoints))
///             .service(http.clone()),
///     );
///
///     let request = http.get_ref()
///         .post("http://localhost:8000/v1/text-to-speech/narrator")
///         .json(&["Once upon a time"])
///         .build()?;
///     let response = client.execute(request).await?.error_for_status()?;
///     Ok(response.bytes().await?.into())
/// }
/// # let _ = speak;
/// ```
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
}

impl<S> Client<S> {
    /// Calls `inner`, which has a [`ReqwestService`](super::ReqwestService) at its bottom, or any other
    /// client.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    /// The stack.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The stack alone.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Sends a request through the stack, as [`reqwest::Client::execute`] does without one.
    ///
    /// # Errors
    ///
    /// The stack's, such as [`Refused`](crate::Refused) or a `reqwest::Error`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request, wherever it is.
    pub fn execute<B>(
        &self,
        request: reqwest::Request,
    ) -> impl Future<Output = Result<reqwest::Response, BoxError>> + use<S, B>
    where
        S: Service<Request<reqwest::Body>, Response = Response<B>, Error: Into<BoxError>> + Clone,
        B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
    {
        let mut client = self.clone();
        async move {
            poll_fn(|cx| client.poll_ready(cx)).await?;
            client.call(request).await
        }
    }
}

impl<S, B> Service<reqwest::Request> for Client<S>
where
    S: Service<Request<reqwest::Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
{
    type Response = reqwest::Response;
    type Error = BoxError;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        ClientFuture {
            state: match Request::try_from(request) {
                Ok(request) => State::Called {
                    future: self.inner.call(request),
                },
                Err(error) => State::Invalid { error: Some(error) },
            },
        }
    }
}

pin_project! {
    /// The response of [`Client`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct ClientFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Called { #[pin] future: F },
        /// `http` does not accept its URL.
        Invalid { error: Option<reqwest::Error> },
    }
}

impl<F, B, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<reqwest::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { future } => match ready!(future.poll(cx)) {
                Ok(response) => Poll::Ready(Ok(into_response(response))),
                Err(error) => Poll::Ready(Err(error.into())),
            },
            StateProj::Invalid { error } => {
                let error = error.take().expect("polled after it was ready");
                Poll::Ready(Err(error.into()))
            }
        }
    }
}

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{BoxedStack, ReqwestService, into_response};
use crate::{BoxError, Handle, HttpService, ThrottleLayer};

/// A stack of layers with reqwest's types outside: what goes in is a `reqwest::Request`, what comes out
/// is a `reqwest::Response`.
///
/// The one object to carry: a clone of it shares its limits, its connections and its [`handle`](Self::handle).
/// [`build`](Self::build) makes it of a layer and of reqwest's settings. Its type has no parameters then, so that it
/// can be the field of a struct. A stack of any other kind goes in by [`new`](Self::new), and is its type parameter.
///
/// Its permit ends with the response's body, as everywhere here.
///
/// ```
/// use tower_throttle::{
///     BoxError, Endpoints, Quota, ThrottleLayer,
///     reqwest::{Client, ThrottleExt},
/// };
///
/// #[derive(Clone)]
/// struct Api {
///     client: Client,
/// }
///
/// impl Api {
///     fn new() -> reqwest::Result<Self> {
///         let endpoints = Endpoints::new()
///             .route("POST /v1/text-to-speech/{voice_id}", Quota::per_second(5).concurrency(4));
///         let layer = ThrottleLayer::new(endpoints);
///         Ok(Self {
///             client: Client::build(reqwest::Client::builder(), &layer)?,
///         })
///     }
///
///     async fn speak(&self, text: &str) -> Result<Vec<u8>, BoxError> {
///         let url = "http://localhost:8000/v1/text-to-speech/narrator";
///         let request = self.client.http().post(url).json(&[text]);
///         let response = request.through(&self.client).send().await?;
///         Ok(response.error_for_status()?.bytes().await?.into())
///     }
/// }
/// # let _ = Api::new().map(|api| drop(api.speak("Once upon a time")));
/// ```
#[derive(Clone, Debug)]
pub struct Client<S = BoxedStack> {
    inner: S,
}

impl<S> Client<S> {
    /// Calls `inner`, which has a [`ReqwestService`] at its bottom, or any other client.
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
    /// Takes what becomes an `http::Request<reqwest::Body>`: a `reqwest::Request`, or such a request itself. A request
    /// with another body is one after `request.map(reqwest::Body::from)`, if its body is a `String`, a `Vec<u8>` or
    /// [`Bytes`], and after `request.map(reqwest::Body::wrap)`, if it streams. Extensions of the request, such as
    /// [`Terms`](crate::Terms), go with it.
    ///
    /// ```
    /// use tower_throttle::{BoxError, Terms, reqwest::Client};
    ///
    /// async fn voices(client: &Client) -> Result<String, BoxError> {
    ///     let request = http::Request::get("http://localhost:8000/v1/voices")
    ///         .extension(Terms::new().idempotent())
    ///         .body(String::new())?;
    ///     let response = client.execute(request.map(reqwest::Body::from)).await?;
    ///     Ok(response.text().await?)
    /// }
    /// # let _ = voices;
    /// ```
    ///
    /// # Errors
    ///
    /// The stack's, such as [`Refused`](crate::Refused) or a `reqwest::Error`; that of the conversion, if `request` is
    /// none that `http` accepts.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request, wherever it is.
    pub fn execute<R, B>(
        &self,
        request: R,
    ) -> impl Future<Output = Result<reqwest::Response, BoxError>> + use<S, R, B>
    where
        R: TryInto<Request<reqwest::Body>, Error: Into<BoxError>>,
        S: Service<Request<reqwest::Body>, Response = Response<B>, Error: Into<BoxError>> + Clone,
        B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
    {
        let mut inner = self.inner.clone();
        let request = request.try_into().map_err(Into::into);
        async move {
            let request = request?;
            poll_fn(|cx| inner.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let response = inner.call(request).await.map_err(Into::into)?;
            Ok(into_response(response))
        }
    }
}

impl Client {
    /// A client of these settings below a layer, in a box. It follows no redirects and retries nothing by itself: see
    /// [`ReqwestService::build`].
    ///
    /// Other clients made with the same layer, or with clones of it, share its limits.
    ///
    /// # Errors
    ///
    /// Those of [`reqwest::ClientBuilder::build`].
    pub fn build(builder: reqwest::ClientBuilder, layer: &ThrottleLayer) -> reqwest::Result<Self> {
        let http = ReqwestService::build(builder)?;
        Ok(Self::over(http, layer))
    }

    /// This client below a layer, in a box: a `reqwest::Client` as it is (see [`ReqwestService::new`] for what passes no
    /// limit then), or a [`ReqwestService`].
    pub fn over(http: impl Into<ReqwestService>, layer: &ThrottleLayer) -> Self {
        Self::layered(http, layer, layer.handle())
    }

    /// This client below any layers, such as those of a `ServiceBuilder`, in a box. `handle` is that of the limiting
    /// layer among them, for [`handle`](Self::handle) to return.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tower::{ServiceBuilder, timeout::TimeoutLayer};
    /// use tower_throttle::{
    ///     Endpoints, Quota, ThrottleLayer,
    ///     reqwest::{Client, ReqwestService},
    /// };
    ///
    /// fn client() -> reqwest::Result<Client> {
    ///     let http = ReqwestService::build(reqwest::Client::builder())?;
    ///     let limits = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)));
    ///     let handle = limits.handle();
    ///     // The wait included: it is above the limits.
    ///     let timeout = TimeoutLayer::new(Duration::from_secs(60));
    ///     let layers = ServiceBuilder::new().layer(timeout).layer(limits);
    ///     Ok(Client::layered(http, &layers, handle))
    /// }
    /// # assert!(client().is_ok());
    /// ```
    pub fn layered<L>(http: impl Into<ReqwestService>, layers: &L, handle: Handle) -> Self
    where
        L: Layer<
                ReqwestService,
                Service: HttpService<reqwest::Body, ResponseBody: Body<Data: Into<Bytes>>>,
            >,
    {
        Self::new(BoxedStack::new(http.into(), layers, handle))
    }

    /// The client at the bottom, to make requests with.
    ///
    /// A request that is sent with its own `send` passes no limit: [`through`](super::ThrottleExt::through) sends it
    /// through the stack.
    pub fn http(&self) -> &reqwest::Client {
        self.inner.http()
    }

    /// Watches and changes the limits.
    pub fn handle(&self) -> &Handle {
        self.inner.handle()
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

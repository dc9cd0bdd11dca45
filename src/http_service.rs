//! One name for what a generic client asks of its service.

use http::{Request, Response};
use http_body::Body;
use tower::BoxError;
use tower_service::Service;

/// Any service that takes HTTP requests with bodies of type `B` and can be cloned into a task: one line of bounds for a
/// client that is generic over its stack.
///
/// Every such service is one, and nothing has to be implemented for it: a client of hyper or reqwest, a layer of this
/// crate above one, a whole stack, boxed or not, the mocks. What is asked besides `Service<http::Request<B>>` is
/// `Clone`, `Send`, `Sync` and `'static` of the service, so that a task can hold it and borrow it; `Send` of its future;
/// and a response body that is `Send` and whose error is, like the service's own, one that a [`BoxError`] can hold.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower::ServiceExt;
/// use tower_throttle::{BoxError, HttpService};
///
/// #[derive(Clone)]
/// struct Voices<S> {
///     http: S,
/// }
///
/// impl<S: HttpService<Full<Bytes>>> Voices<S> {
///     async fn list(&self) -> Result<Bytes, BoxError> {
///         let request = http::Request::get("/v1/voices").body(Full::default())?;
///         let response = self.http.clone().oneshot(request).await.map_err(Into::into)?;
///         let body = response.into_body().collect().await.map_err(Into::into)?;
///         Ok(body.to_bytes())
///     }
///
///     fn list_in_background(&self) -> tokio::task::JoinHandle<Result<Bytes, BoxError>> {
///         let voices = self.clone();
///         tokio::spawn(async move { voices.list().await })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # use tower::{ServiceBuilder, service_fn};
/// # use tower_throttle::{Endpoints, Quota, ThrottleLayer};
/// // Below a layer, or without one: it is the same to `Voices`.
/// let http = service_fn(async |_: http::Request<Full<Bytes>>| {
///     Ok::<_, BoxError>(http::Response::new(Full::<Bytes>::from("[]")))
/// });
/// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)));
/// let voices = Voices { http: ServiceBuilder::new().layer(layer).service(http) };
/// assert_eq!(voices.list_in_background().await??, "[]");
/// # Ok(())
/// # }
/// ```
pub trait HttpService<B>:
    Service<
        Request<B>,
        Response = Response<Self::ResponseBody>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data: Send, Error: Into<BoxError> + Send> + Send + 'static;
}

impl<S, B, R> HttpService<B> for S
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    R: Body<Data: Send, Error: Into<BoxError> + Send> + Send + 'static,
{
    type ResponseBody = R;
}

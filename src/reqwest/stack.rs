use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{ServiceExt as _, util::BoxCloneSyncService};
use tower_layer::Layer;
use tower_service::Service;

use super::{ReqwestService, body::into_reqwest};
use crate::{BoxError, Handle, HttpService};

/// A stack of layers over reqwest's client, in a box: what a [`Client`](super::Client) without a type parameter has.
///
/// It costs an allocation per call.
#[derive(Clone)]
pub struct BoxedStack {
    service: BoxCloneSyncService<Request<reqwest::Body>, Response<reqwest::Body>, BoxError>,
    http: reqwest::Client,
    handle: Handle,
}

impl BoxedStack {
    pub(super) fn new<L>(http: ReqwestService, layers: &L, handle: Handle) -> Self
    where
        L: Layer<
                ReqwestService,
                Service: HttpService<reqwest::Body, ResponseBody: Body<Data: Into<Bytes>>>,
            >,
    {
        let client = http.get_ref().clone();
        let stack = layers
            .layer(http)
            .map_response(|response: Response<_>| response.map(into_reqwest))
            .map_err(Into::into);
        Self {
            service: BoxCloneSyncService::new(stack),
            http: client,
            handle,
        }
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Service<Request<reqwest::Body>> for BoxedStack {
    type Response = Response<reqwest::Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<reqwest::Body>) -> Self::Future {
        self.service.call(request)
    }
}

impl fmt::Debug for BoxedStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedStack")
            .field("http", &self.http)
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

//! What programs outside this repository are compiled against, of the feature `reqwest`.

use std::fmt::Debug;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Full, combinators::UnsyncBoxBody};
use tower::{BoxError, Layer};
use tower_throttle::{
    Body, Endpoints, HttpService, Quota, Throttle, ThrottleLayer,
    reqwest::{BoxedStack, Client, ClientFuture, ReqwestService, ResponseFuture, into_response},
};

#[test]
fn reqwest_below_and_above_is_as_the_documentation_shows() {
    fn takes<B>(_: &(impl tower::Service<Request<B>> + Clone + Send + Sync)) {}
    let _: fn(reqwest::ClientBuilder) -> reqwest::Result<ReqwestService> = ReqwestService::build;
    let _: fn(reqwest::Client) -> ReqwestService = ReqwestService::new;
    let _: fn(&ReqwestService) -> &reqwest::Client = ReqwestService::get_ref;
    let _: fn(ReqwestService) -> reqwest::Client = ReqwestService::into_inner;
    let _: fn(Response<Body<reqwest::Body>>) -> reqwest::Response = into_response;

    let http = ReqwestService::new(reqwest::Client::new());
    takes::<reqwest::Body>(&http);
    takes::<String>(&http);
    takes::<Full<Bytes>>(&http);
    // `Send`, and not `Sync`, as axum's and tonic's are.
    takes::<UnsyncBoxBody<Bytes, BoxError>>(&http);

    let endpoints = Endpoints::new().route("POST /v1/voices/add", Quota::per_second(1));
    let client = Client::new(ThrottleLayer::new(endpoints).layer(http));
    let _: &Throttle<ReqwestService> = client.get_ref();
    let _: Throttle<ReqwestService> = client.into_inner();
}

/// Compiled, not run.
fn _is_spawned_by_shared_reference(
    client: &Client<Throttle<ReqwestService>>,
    request: reqwest::Request,
) -> tokio::task::JoinHandle<Result<reqwest::Response, BoxError>> {
    tokio::spawn(client.execute(request))
}

#[test]
fn reqwests_client_is_an_http_service() {
    fn is_one<B, S: HttpService<B>>() {}
    is_one::<Full<Bytes>, ReqwestService>();
    is_one::<reqwest::Body, ReqwestService>();
    is_one::<reqwest::Body, BoxedStack>();
}

/// Neither `Send` nor `Sync` nor anything else.
struct Bare(#[allow(dead_code)] *const ());

/// `Send` only.
#[derive(Debug)]
struct SendOnly(#[allow(dead_code)] std::cell::Cell<()>);

#[test]
fn clients_bodies_and_futures_are_what_their_parts_are() {
    fn all<T: Send + Sync + Unpin + Clone + Debug>() {}
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn unpin<T: Unpin>() {}
    fn debug<T: Debug>() {}
    all::<ReqwestService>();
    all::<Client<()>>();
    send::<ResponseFuture>();
    debug::<ResponseFuture>();
    send::<ClientFuture<SendOnly>>();
    unpin::<ClientFuture<String>>();
    // The types have no bounds of their own.
    _ = std::mem::size_of::<ClientFuture<Bare>>();
    sync::<Body<reqwest::Body>>();
}

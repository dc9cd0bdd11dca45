//! From a caller's request to an answer for it.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt, timeout::Timeout};
use tower_throttle::{Body, Deadline, Handle, RetryLayer, Throttle, ThrottleLayer};

use super::{
    answers::{self, Answer},
    connector::{self, HttpClient},
    head::{self, Way},
    limits,
    options::Options,
    status,
    tunnel::Tunnels,
    upload::{self, Received, Upload},
};

/// Our own, or the upstream's. The latter holds its permit until the last byte has been passed on.
pub(crate) type Download = Either<Full<Bytes>, Body<Incoming>>;

/// Paths that begin like this are the gateway's own.
const OWN: &str = "/__gateway__/";

/// For how long a caller would wait for its turn.
const MAX_WAIT: &str = "x-gateway-max-wait";

/// Clones share the limits, and the connections to the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Throttle<Timeout<HttpClient>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    handle: Handle,
    tunnels: Tunnels,
}

impl Gateway {
    /// # Errors
    ///
    /// If the upstream is https, and TLS is not to be had.
    pub(crate) fn new(options: Options) -> Result<Self, BoxError> {
        // Below the limits, so that it is for each attempt by itself, and not for the wait.
        let client = Timeout::new(connector::client(&options)?, options.timeout);
        let mut layer =
            ThrottleLayer::new(options.endpoints.clone()).max_waiting(options.max_waiting);
        if let Some(wait) = options.max_wait {
            layer = layer.max_wait(wait);
        }
        layer = if options.retry {
            layer.retry(RetryLayer::new().clone_body_with(upload::copy))
        } else {
            layer.without_retry()
        };
        let handle = layer.handle();
        let tunnels = Tunnels::new();
        Ok(Self {
            client: layer.layer(client),
            shared: Arc::new(Shared {
                options,
                handle,
                tunnels,
            }),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    pub(crate) fn tunnels(&self) -> &Tunnels {
        &self.shared.tunnels
    }

    /// Answers, one way or another. Dropping the future leaves the queue, or ends the call upstream.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        caller: SocketAddr,
    ) -> Response<Download> {
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let answer = if head.uri.path().starts_with(OWN) {
            Err(self.own(&head).into())
        } else {
            self.pass_on(head, body, caller).await
        };
        match answer {
            Ok(answer) => answer.map(Either::Right),
            Err(answer) => answers::to(&method, *answer).map(Either::Left),
        }
    }

    /// The upstream's answer, or what to say instead.
    async fn pass_on(
        mut self,
        mut head: request::Parts,
        body: Incoming,
        caller: SocketAddr,
    ) -> Result<Response<Body<Incoming>>, Box<Answer>> {
        let options = &self.shared.options;
        if head.method == Method::CONNECT {
            let message = "expected the gateway's address as a base URL, not as that of a proxy";
            return Err(answers::not_implemented(message).into());
        }
        let websocket = head::wants_websocket(&head);
        if websocket && options.http2 {
            let message = "expected no websocket: the upstream is spoken to in HTTP/2";
            return Err(answers::not_implemented(message).into());
        }
        let tunnel = head.extensions.remove::<OnUpgrade>();
        let request = self.upwards(head, body, caller).await?;
        let answer = match self.client.ready().await {
            Ok(client) => client.call(request).await,
            Err(error) => Err(error),
        };
        let mut answer = answer.map_err(|error| answers::failed(&error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let tunnel = tunnel.filter(|_| websocket);
            let tunnel = tunnel.ok_or_else(answers::upgrade_failed)?;
            let upstream = upgrade::on(&mut answer);
            self.shared.tunnels.join(tunnel, upstream);
        }
        let (mut head, body) = answer.into_parts();
        head::downwards(&mut head, &self.shared.options.upstream);
        Ok(Response::from_parts(head, body))
    }

    /// The request as it goes to the upstream, with what the limits have to know of it.
    async fn upwards(
        &self,
        mut head: request::Parts,
        body: Incoming,
        caller: SocketAddr,
    ) -> Result<Request<Upload>, Box<Answer>> {
        let options = &self.shared.options;
        let deadline = deadline(&mut head)?;
        let received = Received::read(body, options.keep).await.map_err(|error| {
            answers::bad_request(&format!("the request's body broke off: {error}"))
        })?;
        let way = Way {
            http2: options.http2,
            caller: options.forwarded.then_some(caller),
        };
        head::upwards(&mut head, way);
        let path = head.uri.path_and_query();
        let uri = path.map(|path| options.upstream.uri(path));
        head.uri = uri
            .and_then(Result::ok)
            .ok_or_else(|| answers::bad_request("expected a path"))?;
        if let Some(deadline) = deadline {
            head.extensions.insert(deadline);
        }
        let family = options.plan.and_then(|_| received.family(&head));
        if let Some(family) = family {
            head.extensions.insert(family);
        }
        let body = Upload::from(received);
        if !options.http2 {
            upload::announce(&mut head.headers, &body);
        }
        Ok(Request::from_parts(head, body))
    }

    fn own(&self, head: &request::Parts) -> Answer {
        match (&head.method, head.uri.path().strip_prefix(OWN)) {
            (&Method::GET | &Method::HEAD, Some("status")) => {
                let snapshot = self.handle().snapshot();
                let tunnels = self.tunnels().count();
                answers::ok(&status::page(
                    &self.shared.options.upstream,
                    &snapshot,
                    tunnels,
                ))
            }
            (_, Some("status")) => answers::only_get(),
            _ => answers::not_found(head.uri.path()),
        }
    }
}

/// What the caller says of its patience, which is not for the upstream.
fn deadline(head: &mut request::Parts) -> Result<Option<Deadline>, Box<Answer>> {
    let Some(wait) = head.headers.remove(MAX_WAIT) else {
        return Ok(None);
    };
    let wait = String::from_utf8_lossy(wait.as_bytes());
    let wait = limits::time(&wait)
        .map_err(|error| answers::bad_request(&format!("{MAX_WAIT}: {error}")))?;
    Ok(Some(Deadline(Instant::now() + wait)))
}

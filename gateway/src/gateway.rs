//! From a caller's request to an answer for it.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use tokio::sync::watch;
use tower::{BoxError, Layer, Service, ServiceExt, timeout::Timeout};
use tower_throttle::{Body, CannotReload, Handle, Throttle, elevenlabs::Family};

use super::{
    answers::{self, Answer},
    caller::{Caller, Running},
    connector::{self, HttpClient},
    costs::Smallest,
    download::Download,
    head::{self, Way},
    meters::{Meters, Now},
    options::Options,
    own,
    store::Store,
    terms,
    tunnel::Tunnels,
    upload::{self, Received, Upload},
};

/// Our own, or the upstream's.
pub(crate) type Reply = Either<Full<Bytes>, Download>;

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// No more are taken on. Those that are here wait for their turn, and run, as before.
    Closing,
    /// Requests without an answer get none any more.
    Closed,
}

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
    /// As the limits are now.
    smallest: RwLock<Smallest>,
    tunnels: Tunnels,
    phase: watch::Sender<Phase>,
    meters: Arc<Meters>,
    /// Each connection has a clone.
    connections: Arc<()>,
    /// Each request that is not answered to the end has a clone.
    requests: Arc<()>,
}

impl Gateway {
    /// # Errors
    ///
    /// If the upstream is https, and TLS is not to be had; and if another recorder of metrics is installed.
    pub(crate) fn new(options: Options, store: Option<&Store>) -> Result<Self, BoxError> {
        // Below the limits, so that it is for each attempt by itself, and not for the wait.
        let client = Timeout::new(connector::client(&options)?, options.timeout);
        let meters = Meters::new(&options.name)?;
        let mut layer = options.limits.layer().observe(meters.observer());
        if let Some(retry) = options.limits.retry() {
            layer = layer.retry(retry.clone_body_with(upload::copy));
        }
        if let Some(api) = options.usage {
            layer = layer.settle_by(api.usage());
        }
        if let Some(store) = store {
            layer = store.under(layer);
        }
        let handle = layer.handle();
        Ok(Self {
            client: layer.layer(client),
            shared: Arc::new(Shared {
                smallest: RwLock::new(options.smallest.clone()),
                options,
                handle,
                tunnels: Tunnels::new(),
                phase: watch::Sender::new(Phase::Open),
                meters: Arc::new(meters),
                connections: Arc::new(()),
                requests: Arc::new(()),
            }),
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    pub(crate) fn tunnels(&self) -> &Tunnels {
        &self.shared.tunnels
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.shared.meters
    }

    pub(crate) fn phase(&self) -> &watch::Sender<Phase> {
        &self.shared.phase
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.shared.phase.borrow() == Phase::Open
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn connected(&self) -> Arc<()> {
        Arc::clone(&self.shared.connections)
    }

    pub(crate) fn connections(&self) -> usize {
        Arc::strong_count(&self.shared.connections) - 1
    }

    /// Counts a request for as long as what is returned lives.
    pub(crate) fn begun(&self) -> Arc<()> {
        Arc::clone(&self.shared.requests)
    }

    pub(crate) fn requests(&self) -> usize {
        Arc::strong_count(&self.shared.requests) - 1
    }

    fn facts(&self) -> own::Facts<'_> {
        own::Facts {
            upstream: &self.options().upstream,
            handle: self.handle(),
            meters: self.meters(),
            now: Now {
                requests: self.requests(),
                connections: self.connections(),
                tunnels: self.tunnels().count(),
                is_ready: self.is_open(),
            },
        }
    }

    /// Goes by the limits of these options from now on. Nobody who waits is lost.
    ///
    /// # Errors
    ///
    /// If the gateway is closed. Nothing is changed then.
    pub(crate) fn reload(&self, options: &Options) -> Result<(), CannotReload> {
        options.limits.reload(self.handle())?;
        let smallest = self.shared.smallest.write();
        *smallest.unwrap_or_else(PoisonError::into_inner) = options.smallest.clone();
        Ok(())
    }

    /// Answers, one way or another. Dropping the future leaves the queue, or ends the call upstream.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        caller: &Caller,
        running: Running,
    ) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let answer = match head::check(&head) {
            Err(message) => Err(answers::close(answers::bad_request(&message)).into()),
            Ok(()) if own::is_own(&head) => Err(own::answer(&self.facts(), &head).into()),
            Ok(()) if self.is_open() => {
                let answer = self.clone().pass_on(head, body, caller).await;
                self.count(&answer);
                answer
            }
            Ok(()) => Err(answers::close(answers::shutting_down()).into()),
        };
        match answer {
            Ok(answer) => {
                let patience = self.options().patience.read;
                let watched = |body| Download::new(body, patience, running, self.meters());
                answer.map(watched).map(Either::Right)
            }
            Err(answer) => answers::to(&method, *answer).map(Either::Left),
        }
    }

    fn count(&self, answer: &Result<Response<Body<Incoming>>, Box<Answer>>) {
        let meters = self.meters();
        match answer {
            Ok(answer) => meters.answered(answer.status()),
            Err(answer) => {
                meters.answered(answer.status());
                if let Some(reason) = answers::reason(answer) {
                    meters.answered_itself(reason);
                }
            }
        }
    }

    /// The upstream's answer, or what to say instead.
    async fn pass_on(
        mut self,
        mut head: request::Parts,
        body: Incoming,
        caller: &Caller,
    ) -> Result<Response<Body<Incoming>>, Box<Answer>> {
        let options = &self.shared.options;
        if head.method == Method::CONNECT {
            let message = "expected the gateway's address as a base URL, not as that of a proxy";
            return Err(answers::close(answers::not_implemented(message)).into());
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
            caller.free();
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
        caller: &Caller,
    ) -> Result<Request<Upload>, Box<Answer>> {
        let options = &self.shared.options;
        let mut terms =
            terms::take(&mut head.headers).map_err(|error| answers::bad_request(&error))?;
        let received = Received::read(body, options.keep, options.patience.body, self.meters());
        let received = received
            .await
            .map_err(|error| answers::broken_off(&error))?;
        let way = Way {
            http2: options.http2,
            caller: options.forwarded.then_some(caller.address),
        };
        head::upwards(&mut head, way);
        let path = head.uri.path_and_query();
        let uri = path.map(|path| options.upstream.uri(path));
        head.uri = uri
            .and_then(Result::ok)
            .ok_or_else(|| answers::bad_request("expected a path"))?;
        let family = options.plan.and_then(|_| received.family(&head));
        // All others are chosen by their path, so that no spelling of one leads past its limit.
        if family == Some(Family::Flash) {
            terms = terms.endpoint(Family::Flash.name());
        }
        let kept = received.kept();
        let body = Upload::from(received);
        if !options.http2 {
            upload::announce(&mut head.headers, &body);
        }
        let mut request = Request::from_parts(head, body);
        let api = options.usage.filter(|_| options.estimate);
        if let (Some(api), Some(body)) = (api, kept) {
            let smallest = self.shared.smallest.read();
            let smallest = smallest.unwrap_or_else(PoisonError::into_inner);
            if let Some(cost) = smallest.estimate(api, &request, &body) {
                terms = terms.cost(cost);
            }
        }
        request.extensions_mut().insert(terms);
        Ok(request)
    }
}

//! The bodies of answers on their way down.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};
use tower_throttle::{Body, BoxError};

use super::{
    caller::Running,
    meters::{Cut, Meters},
};

/// How long an answer is read on when its caller has gone, in case that it is about to end.
const MOMENT: Duration = Duration::from_millis(250);

/// How many bytes are read then.
const REST: usize = 64 * 1024;

/// The upstream's body. It holds its permit until the last byte has been passed on; but not for a caller that reads
/// nothing for as long as `patience`.
///
/// A body that is not polled can do nothing by itself, so a task looks after it. (Where the caller's connection takes
/// nothing more, that fails by itself. Over HTTP/2 one stream can stand still on a connection that moves.)
#[derive(Debug)]
pub(crate) struct Download {
    passing: Arc<Mutex<Passing>>,
    watch: Option<AbortHandle>,
    _running: Running,
}

#[derive(Debug)]
struct Passing {
    /// `None` once it has ended, or was cut.
    body: Option<Body<Incoming>>,
    /// Since when the caller has had something to read. `None` while it waits for the upstream.
    handed: Option<Instant>,
    is_cut: bool,
}

impl Download {
    pub(crate) fn new(
        body: Body<Incoming>,
        patience: Duration,
        running: Running,
        meters: &Arc<Meters>,
    ) -> Self {
        let has_ended = body.is_end_stream();
        let passing = Arc::new(Mutex::new(Passing {
            body: (!has_ended).then_some(body),
            handed: Some(Instant::now()),
            is_cut: false,
        }));
        let watch = (!has_ended).then(|| {
            let watch = watch(Arc::downgrade(&passing), patience, Arc::clone(meters));
            tokio::spawn(watch).abort_handle()
        });
        Self {
            passing,
            watch,
            _running: running,
        }
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        lock(&self.passing)
    }
}

fn lock(passing: &Mutex<Passing>) -> MutexGuard<'_, Passing> {
    passing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops the body of a caller that does not read, and with it the permit and the call upstream.
async fn watch(passing: Weak<Mutex<Passing>>, patience: Duration, meters: Arc<Meters>) {
    let mut next = Instant::now() + patience;
    loop {
        sleep_until(next).await;
        let Some(passing) = passing.upgrade() else {
            return;
        };
        let mut passing = lock(&passing);
        let now = Instant::now();
        next = passing.handed.unwrap_or(now) + patience;
        if next <= now {
            passing.is_cut = true;
            let body = passing.body.take();
            drop(passing);
            drop(body);
            meters.cut(Cut::Read);
            return;
        }
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut passing = self.passing();
        let Some(body) = &mut passing.body else {
            let cut = passing.is_cut.then(|| Err(Unread.into()));
            return Poll::Ready(cut);
        };
        let polled = Pin::new(body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(Some(Ok(_))) => {
                passing.handed = Some(Instant::now());
                None
            }
            Poll::Pending => {
                passing.handed = None;
                None
            }
            Poll::Ready(_) => passing.body.take(),
        };
        drop(passing);
        // Its end tells others that there is room.
        drop(ended);
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        let passing = self.passing();
        let body = passing.body.as_ref();
        body.map_or(!passing.is_cut, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let passing = self.passing();
        let body = passing.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        let body = self.passing().body.take();
        if let (Some(body), Ok(runtime)) = (body, Handle::try_current()) {
            runtime.spawn(read_on(body));
        }
    }
}

/// Reads on for a moment when the caller has gone.
///
/// A caller that stops at the last event of a stream hangs up just before the stream ends. To hang up on the upstream as
/// well would free the permit before the upstream has noticed, which could then refuse the next request.
async fn read_on(mut body: Body<Incoming>) {
    let rest = async {
        let mut left = REST;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // What does not end by then is in its middle.
    let _ = timeout(MOMENT, rest).await;
}

/// Why an answer was cut.
#[derive(Debug)]
struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller does not read its answer")
    }
}

impl Error for Unread {}

//! Many requests of one engine, without services and tasks around them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    Deadline, EndpointName, Endpoints, Handle,
    admission::{Acquire, InFlight, Shared, Turn},
    bucket::Enforced,
};

/// Windows and permits, as [`ThrottleLayer`](crate::ThrottleLayer) has them.
pub(super) const JOINT: Enforced = Enforced {
    windows: true,
    permits: true,
};

pub(super) type Request = http::Request<()>;

/// To a path of its own.
pub(super) fn to_path(n: usize) -> Request {
    let uri = format!("https://example.com/{n}");
    http::Request::get(uri).body(()).unwrap()
}

/// To a [named](Endpoints::named) endpoint.
pub(super) fn to_name(n: usize) -> Request {
    let mut request = http::Request::get("/").body(()).unwrap();
    request
        .extensions_mut()
        .insert(EndpointName::new(n.to_string()));
    request
}

pub(super) fn within(mut request: Request, time: Duration) -> Request {
    let deadline = Deadline(Instant::now() + time);
    request.extensions_mut().insert(deadline);
    request
}

/// [`serve`](Self::serve) polls the waiters that were woken, in the order of their wakes.
pub(super) struct Crowd {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: Handle,
    waiting: Vec<Option<(Acquire, Request)>>,
    woken: Arc<Mutex<VecDeque<usize>>>,
    /// How many have gone out.
    pub(super) gone: usize,
    pub(super) refused: usize,
    /// The permits of answers that have not ended, if they are kept.
    pub(super) permits: Vec<InFlight>,
    pub(super) keeps_permits: bool,
}

struct Bell {
    of: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push_back(self.of);
    }
}

impl Crowd {
    pub(super) fn new(endpoints: &Endpoints) -> Self {
        Self::with(endpoints, |_| {})
    }

    pub(super) fn with(endpoints: &Endpoints, set: impl FnOnce(&mut Shared)) -> Self {
        let mut shared = Shared::new(endpoints, JOINT);
        set(&mut shared);
        Self {
            handle: Handle::new(&shared),
            shared: Arc::new(shared),
            waiting: Vec::new(),
            woken: Arc::default(),
            gone: 0,
            refused: 0,
            permits: Vec::new(),
            keeps_permits: false,
        }
    }

    /// Returns whether it waits, or has been refused.
    pub(super) fn call(&mut self, request: Request) -> bool {
        match self.shared.admit(&request) {
            Ok(dispatch) => {
                self.went(dispatch.done());
                false
            }
            Err(unadmitted) => {
                let acquire = self.shared.wait(unadmitted).unwrap();
                self.waiting.push(Some((acquire, request)));
                self.poll(self.waiting.len() - 1);
                true
            }
        }
    }

    fn went(&mut self, permit: InFlight) {
        self.gone += 1;
        if self.keeps_permits {
            self.permits.push(permit);
        }
    }

    /// How many have called that could not go at once.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().flatten().count()
    }

    pub(super) fn poll(&mut self, of: usize) {
        let Some((acquire, request)) = &mut self.waiting[of] else {
            return;
        };
        let woken = Arc::clone(&self.woken);
        let waker = Waker::from(Arc::new(Bell { of, woken }));
        let mut cx = Context::from_waker(&waker);
        let done = match acquire.poll(&mut cx, request) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) => acquire.take(),
            Poll::Ready(Err(refused)) => Err(refused),
        };
        match done {
            Ok(Turn::Dispatch(dispatch)) => {
                self.waiting[of] = None;
                self.went(dispatch.done());
            }
            Ok(Turn::CalledBack | Turn::Lost) => self.poll(of),
            Err(_) => {
                self.waiting[of] = None;
                self.refused += 1;
            }
        }
    }

    /// Polls the requests that were woken, until there are no more.
    pub(super) fn serve(&mut self) {
        while let Some(of) = self.next_woken() {
            self.poll(of);
        }
    }

    /// Whether it has been woken and not been polled for it.
    pub(super) fn is_woken(&self, of: usize) -> bool {
        self.woken.lock().unwrap().contains(&of)
    }

    fn next_woken(&self) -> Option<usize> {
        self.woken.lock().unwrap().pop_front()
    }

    /// The requests that were woken are not polled for it.
    pub(super) fn forget_woken(&self) {
        self.woken.lock().unwrap().clear();
    }

    pub(super) fn cancel(&mut self, of: usize) {
        self.waiting[of] = None;
    }

    /// Time passes, and a request that is woken meanwhile is polled at that instant.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            // The engine's timer is among those for which a paused clock stops.
            tokio::time::sleep(Duration::from_millis(1).min(end - Instant::now())).await;
            self.serve();
        }
    }
}

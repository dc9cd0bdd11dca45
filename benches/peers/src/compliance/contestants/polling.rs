//! A loop that looks every 50 ms whether it may, as one writes it in an afternoon.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};

use super::{Client, Contestant, Limits, Req, Server, boxed};

const EVERY: Duration = Duration::from_millis(50);

/// Takes a place in the window first, and looks for room among the running calls then. Where there is
/// none, the place is gone all the same.
pub struct PollingLoop;

#[derive(Default)]
struct Books {
    calls: VecDeque<Instant>,
    running: usize,
}

struct Running(Arc<Mutex<Books>>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.running -= 1;
    }
}

fn may_go(books: &mut Books, limits: Limits) -> bool {
    if let Some(rate) = limits.rate {
        let now = Instant::now();
        let counts = |call: &Instant| now - *call <= rate.widened();
        while books.calls.front().is_some_and(|call| !counts(call)) {
            books.calls.pop_front();
        }
        if books.calls.len() >= rate.n as usize {
            return false;
        }
        books.calls.push_back(now);
    }
    let room = limits.at_once.is_none_or(|n| books.running < n);
    books.running += usize::from(room);
    room
}

impl Contestant for PollingLoop {
    fn name(&self) -> String {
        "polling loop, every 50 ms".to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let books = Arc::new(Mutex::new(Books::default()));
        boxed(service_fn(move |request: Req| {
            let (server, books) = (server.clone(), Arc::clone(&books));
            async move {
                let look = || {
                    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
                    may_go(&mut books, limits)
                };
                while !look() {
                    sleep(EVERY).await;
                }
                let _running = Running(Arc::clone(&books));
                server.oneshot(request).await
            }
        }))
    }
}

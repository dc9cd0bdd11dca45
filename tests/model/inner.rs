//! An inner service that does what the driver says, when the driver says it.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tower::Service;

use crate::ops::{Answer, Piece, Readiness};

/// Which request it is: an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Id {
    pub id: usize,
    pub panics: bool,
}

/// What the instances of the service, their futures and bodies share with the driver.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    readiness: Option<Readiness>,
    unready: Vec<Waker>,
    /// Instances that are ready and have not been called.
    reserved: usize,
    /// Calls that the driver has not heard of.
    calls: Vec<usize>,
    answers: BTreeMap<usize, Answer>,
    waiting: BTreeMap<usize, Waker>,
    bodies: BTreeMap<usize, Script>,
}

#[derive(Clone, Default)]
struct Script {
    frames: usize,
    end: Option<Piece>,
    coy: bool,
    waker: Option<Waker>,
}

impl Script {
    fn is_over(&self) -> bool {
        self.frames == 0 && matches!(self.end, Some(Piece::End)) && !self.coy
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerError(pub &'static str);

impl fmt::Display for InnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InnerError {}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn service(&self) -> Inner {
        Inner {
            world: self.clone(),
            reservation: None,
        }
    }

    pub fn readiness(&self) -> Readiness {
        self.lock().readiness.unwrap_or(Readiness::Ready)
    }

    pub fn set_readiness(&self, readiness: Readiness) {
        let unready = {
            let mut state = self.lock();
            state.readiness = Some(readiness);
            std::mem::take(&mut state.unready)
        };
        for waker in unready {
            waker.wake();
        }
    }

    pub fn reserved(&self) -> usize {
        self.lock().reserved
    }

    /// The calls since this was last asked, in order.
    pub fn calls(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().calls)
    }

    pub fn has_answer(&self, id: usize) -> bool {
        self.lock().answers.contains_key(&id)
    }

    pub fn answer_of(&self, id: usize) -> Option<Answer> {
        self.lock().answers.get(&id).copied()
    }

    pub fn answer(&self, id: usize, answer: Answer) {
        let waker = {
            let mut state = self.lock();
            state.answers.entry(id).or_insert(answer);
            state.waiting.remove(&id)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub fn send(&self, id: usize, piece: Piece) {
        let waker = {
            let mut state = self.lock();
            let Some(script) = state.bodies.get_mut(&id) else {
                return;
            };
            match piece {
                _ if script.end.is_some() => {}
                Piece::Frame => script.frames += 1,
                end => script.end = Some(end),
            }
            script.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An instance. It has to be made ready itself.
pub struct Inner {
    world: World,
    reservation: Option<Reservation>,
}

struct Reservation(World);

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.lock().reserved -= 1;
    }
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        self.world.service()
    }
}

impl Service<Request<()>> for Inner {
    type Response = Response<Reading>;
    type Error = InnerError;
    type Future = Working;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InnerError>> {
        if self.reservation.is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.world.lock();
        match state.readiness {
            Some(Readiness::Pending) => {
                state.unready.push(cx.waker().clone());
                Poll::Pending
            }
            Some(Readiness::Fails) => {
                state.readiness = Some(Readiness::Ready);
                Poll::Ready(Err(InnerError("not ready")))
            }
            Some(Readiness::Ready) | None => {
                state.reserved += 1;
                drop(state);
                self.reservation = Some(Reservation(self.world.clone()));
                Poll::Ready(Ok(()))
            }
        }
    }

    fn call(&mut self, request: Request<()>) -> Working {
        let reservation = self.reservation.take();
        assert!(
            reservation.is_some(),
            "called an instance that was not ready"
        );
        let &Id { id, panics } = request.extensions().get().expect("the driver numbers them");
        self.world.lock().calls.push(id);
        if panics {
            // Without the panic hook's noise.
            std::panic::resume_unwind(Box::new("a panic in `call`"));
        }
        Working {
            world: self.world.clone(),
            id,
        }
    }
}

pub struct Working {
    world: World,
    id: usize,
}

impl Future for Working {
    type Output = Result<Response<Reading>, InnerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        let mut state = self.world.lock();
        let Some(answer) = state.answers.get(&id).copied() else {
            state.waiting.insert(id, cx.waker().clone());
            return Poll::Pending;
        };
        match answer {
            Answer::Error => Poll::Ready(Err(InnerError("answer"))),
            Answer::Panic => {
                drop(state);
                std::panic::resume_unwind(Box::new("a panic in the future"))
            }
            Answer::Head {
                status, ended, coy, ..
            } => {
                let script = Script {
                    end: ended.then_some(Piece::End),
                    coy: coy && !ended,
                    ..Script::default()
                };
                state.bodies.insert(id, script);
                drop(state);
                let mut response = Response::new(Reading {
                    world: self.world.clone(),
                    id,
                });
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                Poll::Ready(Ok(response))
            }
        }
    }
}

/// The body of an answer.
pub struct Reading {
    world: World,
    id: usize,
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let mut state = self.world.lock();
        let script = state.bodies.get_mut(&self.id).expect("its head is there");
        if script.frames > 0 {
            script.frames -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))));
        }
        match script.end {
            None | Some(Piece::Frame) => {
                script.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Piece::End) => Poll::Ready(None),
            Some(Piece::Error) => Poll::Ready(Some(Err(InnerError("body")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.world.lock();
        state.bodies.get(&self.id).is_some_and(Script::is_over)
    }
}

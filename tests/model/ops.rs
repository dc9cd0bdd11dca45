//! What can happen.

use proptest::prelude::*;

use crate::{
    config::{ENDPOINTS, GROUP, Limit, Millis, OVERALL, PARTITIONS, SCOPES, limit},
    costs::{Resize, Stated},
    order::Asked,
    reference::Estimates,
};

/// One thing that happens. Requests are chosen among those that are left, counted round.
#[derive(Clone, Debug)]
pub enum Op {
    Call(Call),
    /// So many calls of one kind.
    Burst(usize, Call),
    /// Polls a response future, whether it was woken or not.
    Poll(usize),
    /// Drops a response future, or the body that came of it.
    Drop(usize),
    /// The server has made up its mind about a request; it may not even have it yet.
    Answer(usize, Answer),
    /// The server goes on with the body of an answer.
    Send(usize, Piece),
    /// The caller reads the next frame.
    Read(usize),
    SetQuota(usize, Limit),
    /// A quota like the first one of its scope, with other numbers.
    Resize(usize, Resize),
    /// The caller says what a request has cost.
    Settle(usize, Estimates),
    /// The caller forgets what it could have said that with.
    Forget(usize),
    Pause(usize, Millis),
    Resume(usize),
    Sweep,
    /// The layer is closed, and somebody waits until nothing of it is under way.
    Close,
    /// Whether the inner service is ready.
    Inner(Readiness),
    /// The future is not polled for so long, even if it is woken.
    Sleep(usize, Millis),
    /// Polls all who are woken and do not sleep, until nobody is.
    Run,
    /// Lets so much time pass. If lazily, the next operation comes before the timers have been heard.
    Advance(Millis, bool),
    /// Lets so much time pass in which nobody is polled.
    Doze(Millis),
}

#[derive(Clone, Debug)]
pub struct Call {
    pub endpoint: usize,
    pub partition: usize,
    pub cost: Stated,
    pub asked: Asked,
    /// So long before (negative) or after the call.
    pub deadline: Option<i64>,
    pub panics: bool,
    pub connect: bool,
    /// Whether it is polled at once, as it would be by whoever awaits it.
    pub poll: bool,
    /// For how long it is not polled after that, even if it is woken.
    pub sleep: Millis,
}

#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Error,
    Panic,
    Head {
        status: u16,
        /// The body ends with the head.
        ended: bool,
        /// The body does not say that it has ended before it is asked for more.
        coy: bool,
        /// The caller keeps the answer's `Settlement`.
        keep: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Piece {
    Frame,
    End,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Pending,
    /// The next instance that is asked fails; then it is ready.
    Fails,
}

/// Often for about as long as others have patience.
pub fn sleep() -> impl Strategy<Value = Millis> {
    prop_oneof![1 => 1u64..10, 2 => 9u64..23, 1 => 20u64..60]
}

pub fn call(
    cost: impl Strategy<Value = Stated>,
    deadline: impl Strategy<Value = Option<i64>>,
    sleep: impl Strategy<Value = Millis>,
) -> impl Strategy<Value = Call> {
    (
        prop_oneof![2 => 0usize..2, 3 => 0..ENDPOINTS],
        prop_oneof![1 => Just(0usize), 1 => 0..PARTITIONS],
        cost,
        deadline,
        proptest::bool::weighted(0.05),
        proptest::bool::weighted(0.03),
        proptest::bool::weighted(0.85),
        sleep,
    )
        .prop_map(
            |(endpoint, partition, cost, deadline, panics, connect, poll, sleep)| Call {
                endpoint,
                partition,
                cost,
                asked: Asked::NOTHING,
                deadline,
                panics,
                connect,
                poll,
                sleep,
            },
        )
}

pub fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => Just(Answer::Error),
        1 => Just(Answer::Panic),
        8 => (
            prop_oneof![6 => Just(200u16), 1 => Just(404u16), 1 => Just(500u16), 1 => Just(101u16)],
            any::<bool>(),
            any::<bool>(),
            proptest::bool::weighted(0.7),
        )
            .prop_map(|(status, ended, coy, keep)| Answer::Head {
                status,
                ended,
                coy,
                keep,
            }),
    ]
}

pub fn readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![
        3 => Just(Readiness::Ready),
        2 => Just(Readiness::Pending),
        1 => Just(Readiness::Fails)
    ]
}

pub fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![Just(Piece::Frame), Just(Piece::End), Just(Piece::Error)]
}

pub fn op() -> impl Strategy<Value = Op> {
    let which = || any::<usize>();
    let call = || {
        call(
            Just(Stated::default()),
            proptest::option::weighted(0.15, -2i64..25),
            prop_oneof![5 => Just(0u64), 1 => sleep()],
        )
    };
    // Mostly those through which most requests go.
    let scope = || prop_oneof![2 => 0usize..2, 1 => GROUP..=OVERALL, 2 => 0..SCOPES];
    prop_oneof![
        14 => call().prop_map(Op::Call),
        1 => (2..13usize, call()).prop_map(|(n, call)| Op::Burst(n, call)),
        2 => which().prop_map(Op::Poll),
        3 => which().prop_map(Op::Drop),
        8 => (which(), answer()).prop_map(|(which, answer)| Op::Answer(which, answer)),
        3 => (which(), piece()).prop_map(|(which, piece)| Op::Send(which, piece)),
        4 => which().prop_map(Op::Read),
        3 => (scope(), limit()).prop_map(|(scope, limit)| Op::SetQuota(scope, limit)),
        2 => (scope(), 1u64..15).prop_map(|(scope, time)| Op::Pause(scope, time)),
        1 => scope().prop_map(Op::Resume),
        1 => Just(Op::Sweep),
        1 => readiness().prop_map(Op::Inner),
        5 => Just(Op::Run),
        4 => (which(), sleep()).prop_map(|(which, time)| Op::Sleep(which, time)),
        1 => sleep().prop_map(Op::Doze),
        8 => (prop_oneof![3 => Just(1u64), 2 => 1u64..8], any::<bool>())
            .prop_map(|(time, lazily)| Op::Advance(time, lazily)),
    ]
}

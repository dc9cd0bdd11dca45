//! What a server's answers have taught about one bucket.
//!
//! Each lesson only ever narrows what was configured, and is given back step by step while all goes
//! well. Refusals come in waves: many requests are on their way when the first of them is refused. A
//! wave is one piece of news, so requests are numbered as they are admitted, and whatever was on its
//! way before the news arrived belongs to it.

mod answers;
mod backoff;
mod closure;
mod concurrency;
mod diagnosis;
mod discovery;
mod doubt;
mod estimate;
mod lesson;
mod margin;
mod narrowing;
mod news;
mod pace;
mod ramp;
mod rate;
mod slow_start;
mod suspects;

pub(crate) use self::{
    answers::Setback,
    diagnosis::TELLING,
    news::{Refusal, RefusalKind, Report},
};
pub(in crate::bucket) use self::{
    closure::Closure, narrowing::Narrowing, news::Sent, pace::Stop, slow_start::SlowStart,
};

//! One bucket's state and decisions: its window, its permits, its pause.
//!
//! Pure: time is a parameter, and an answer is a decision. No clock, no lock, no waker.

mod account;
mod chunked;
mod demand;
mod gate;
mod learned;
mod learning;
mod lessons;
mod load;
mod log;
mod past;
mod rules;
mod stamps;
mod state;
mod sums;
mod tick;
mod together;
mod units;

pub(crate) use self::{
    account::Held,
    demand::Demand,
    gate::Gate,
    learned::{Refusal, RefusalKind, Report, Setback, TELLING},
    load::Load,
    past::{Dispatched, Tally},
    rules::{Enforced, Rules},
    state::{Bucket, Past},
    tick::{RECENT, Span, Tick},
    together::Together,
};
pub use self::{
    learning::Learning,
    lessons::{Learned, LearnedFrom},
};

#[cfg(test)]
mod tests;

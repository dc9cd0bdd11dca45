//! What all kinds of lessons have in common.

use super::news::{Refusal, Report, Sent};
use crate::bucket::{
    rules::{Rule, Rules},
    tick::Tick,
};

/// One kind of lesson: an algorithm that hears of answers, and what it narrows for that.
///
/// Each has a file of its own. Which of them a refusal is put to is for
/// [`Narrowing`](super::Narrowing) to decide.
pub(super) trait Lesson {
    /// A refusal. `false` if this lesson cannot explain it.
    fn refused(&mut self, refusal: &Refusal, sent: &Sent<'_>, rules: &Rules) -> bool;

    /// An answer that was no refusal.
    fn accepted(&mut self, report: &Report, sent: &Sent<'_>, rules: &Rules);

    /// What is narrowed now.
    fn limit(&self, now: Tick) -> Option<Limit>;
}

/// What a lesson narrows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// At most so many in flight.
    InFlight(u32),
    /// One window more.
    Window(Rule),
    /// Each window is wider by so many thousandths of its period.
    Margin(u32),
}

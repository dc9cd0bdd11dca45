//! What a request's earlier answers were: told by limiting layers, and carried by retries.

use super::core::Setback;

/// An extension of throttling answers, and of the retries that follow them: for each limiting layer of a
/// stack what it made of the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setbacks {
    /// By engine.
    of: Vec<(usize, Setback)>,
}

impl Setbacks {
    pub(super) fn of(&self, engine: usize) -> Option<Setback> {
        let of = self.of.iter().find(|(other, _)| *other == engine);
        of.map(|&(_, setback)| setback)
    }

    pub(super) fn set(&mut self, engine: usize, setback: Setback) {
        self.of.retain(|(other, _)| *other != engine);
        self.of.push((engine, setback));
    }
}

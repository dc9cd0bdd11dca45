//! What decides: the state in memory, or a server.

use tower_throttle_store::{
    decide::{State, decide},
    protocol::{Answer, Ask, Micros, Timing},
};

/// A store whose clock and failures the test controls.
pub trait World {
    fn ask(&mut self, ask: &Ask, clock: Micros, run: &str) -> Answer;
    /// All is gone.
    fn forget(&mut self);
    /// Keeps a copy for `restore`.
    fn save(&mut self);
    /// Puts back what was saved.
    fn restore(&mut self);
}

/// The decision in Rust.
#[derive(Debug)]
pub struct Memory {
    pub state: State,
    saved: State,
    timing: Timing,
}

impl Memory {
    pub fn new(timing: Timing) -> Self {
        Self {
            state: State::default(),
            saved: State::default(),
            timing,
        }
    }
}

impl World for Memory {
    fn ask(&mut self, ask: &Ask, clock: Micros, run: &str) -> Answer {
        decide(&mut self.state, ask, clock, run, &self.timing).unwrap()
    }

    fn forget(&mut self) {
        self.state = State::default();
    }

    fn save(&mut self) {
        self.saved = self.state.clone();
    }

    fn restore(&mut self) {
        self.state = self.saved.clone();
    }
}

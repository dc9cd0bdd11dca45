//! Ids as the API makes them, drawn so that a run can be repeated.

use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Ids(Mutex<fastrand::Rng>);

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// 32 hexadecimal digits, for `x-trace-id`.
    pub(super) fn trace(&self) -> String {
        self.draw(|rng| format!("{:032x}", rng.u128(..)))
    }

    /// 20 letters and digits, for everything else.
    pub(super) fn object(&self) -> String {
        self.draw(|rng| (0..20).map(|_| rng.alphanumeric()).collect())
    }
}

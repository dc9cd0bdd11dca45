//! Random numbers that a seed repeats.

use std::ops::Range;

#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub fn range(&mut self, range: Range<i64>) -> i64 {
        self.0.i64(range)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0.usize(0..n)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u8) -> bool {
        self.0.u8(0..100) < percent
    }

    pub fn permille(&mut self, permille: u16) -> bool {
        self.0.u16(0..1000) < permille
    }

    pub fn name(&mut self) -> String {
        format!("{:08x}", self.0.u32(..))
    }
}

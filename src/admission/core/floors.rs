//! The data of [`floor`](super::floor): what is owed at a node.

use crate::{bucket::Rules, costs::Priority};

/// How many times what lower classes get is given out at most, in all, while they wait.
pub(super) const DEFAULT_FLOOR: u32 = 8;

/// What those below a class are owed: first those below the highest, then the lowest.
///
/// In shares of the tightest limit: what the others of this and the lower classes got since, less what the lower ones
/// got times what they may have.
#[derive(Debug, Default)]
pub(super) struct Floors([i128; BORDERS]);

/// How many borders there are between classes.
pub(super) const BORDERS: usize = Priority::ALL.len() - 1;

/// What a whole limit counts as.
const WHOLE: i128 = Rules::WHOLE as i128;

impl Floors {
    /// How much those below a border are owed.
    pub(super) fn owe(&self, border: usize) -> i128 {
        self.0[border]
    }

    /// Something was given out to one above a border, or below it.
    pub(super) fn give(&mut self, border: usize, share: i128, others: i128, is_below: bool) {
        let owed = &mut self.0[border];
        *owed += if is_below { -share * others } else { share };
        // Who cannot take what it is owed is not owed more and more.
        *owed = (*owed).clamp(-others * WHOLE, others * WHOLE);
    }
}

/// At which borders the turn of a request counted.
pub(super) type Counted = [bool; BORDERS];

//! How long speech takes to be generated.

use std::time::Duration;

use tower_throttle_plans::elevenlabs::Family;

/// When the first byte of a stream comes, measured with Flash for texts of any length: 206 to 210 ms.
pub(super) const FIRST_BYTE: Duration = Duration::from_millis(208);

/// Milliseconds for texts of so many characters, as measured in 2026.
const MULTILINGUAL: [(u64, u64); 3] = [(40, 1_090), (170, 1_680), (600, 5_620)];
const FLASH: [(u64, u64); 3] = [(40, 320), (170, 580), (600, 1_240)];

/// How long a text takes: between what was measured in a straight line, and beyond it the same way on.
pub(super) fn generation(family: Family, characters: usize) -> Duration {
    let measured = match family {
        Family::Flash => FLASH,
        _ => MULTILINGUAL,
    };
    let characters = characters as u64;
    let [first, second, third] = measured;
    let (from, to) = if characters < second.0 {
        (first, second)
    } else {
        (second, third)
    };
    let (run, rise) = (to.0 - from.0, to.1 - from.1);
    // Forwards or backwards from the first of the two.
    let millis = if characters >= from.0 {
        from.1 + (characters - from.0) * rise / run
    } else {
        from.1 - (from.0 - characters) * rise / run
    };
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_met_and_longer_texts_take_longer() {
        for (family, measured) in [(Family::Multilingual, MULTILINGUAL), (Family::Flash, FLASH)] {
            let millis = |characters| generation(family, characters).as_millis();
            for (characters, expected) in measured {
                let characters = usize::try_from(characters).unwrap();
                assert_eq!(millis(characters), u128::from(expected));
            }
            assert!((0..2_000).is_sorted_by_key(millis));
            assert!(millis(0) > 200);
        }
    }
}

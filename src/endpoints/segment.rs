//! Paths, eight bytes at a time: identifiers are long, and a byte at a time was a third of a look-up.

use std::array;

pub(super) const WORD: usize = size_of::<u64>();

const fn splat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

/// Takes the first segment off a path that begins behind a slash. The rest begins with the next slash,
/// if there is one.
#[inline]
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    let mut rest = path;
    while let Some((&chunk, tail)) = rest.split_first_chunk() {
        let slashes = slashes(u64::from_le_bytes(chunk));
        if slashes != 0 {
            return path.split_at(at + slashes.trailing_zeros() as usize / 8);
        }
        at += WORD;
        rest = tail;
    }
    // What stands behind the end counts as slashes, so there always is one.
    let slashes = slashes(last_word(path, rest.len()));
    path.split_at(at + slashes.trailing_zeros() as usize / 8)
}

/// The last bytes, fewer than eight, as [`word`] has them.
#[inline]
fn last_word(text: &[u8], len: usize) -> u64 {
    match text.last_chunk() {
        // Shifted in two steps, as there may be none.
        Some(&chunk) => {
            u64::from_le_bytes(chunk) >> 8 >> (8 * (WORD - 1 - len)) | splat(b'/') << (8 * len)
        }
        None => short_word(text),
    }
}

/// The first eight bytes, the first of them lowest; where there are fewer, slashes follow.
#[inline]
pub(super) fn word(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => short_word(text),
    }
}

#[inline(never)]
fn short_word(text: &[u8]) -> u64 {
    let word = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        // Two halves that overlap, rather than byte by byte.
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u64::from(first) | u64::from(last) << (8 * (text.len() - size_of::<u32>()))
    } else {
        let bytes = text.iter().take(size_of::<u32>() - 1).rev();
        bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    word | splat(b'/') << (8 * text.len())
}

/// Whether something holds of each byte and the next one (behind the last, a letter). A text of more than `MOST`
/// bytes is not looked at. Written such that the compiler takes sixteen bytes at a time.
#[inline]
pub(super) fn all_of<const MOST: usize>(text: &[u8], holds: impl Fn(u8, u8) -> bool) -> bool {
    let mut padded = [b'a'; MOST];
    let Some(start) = padded.get_mut(..text.len()) else {
        return false;
    };
    start.copy_from_slice(text);
    let mut next = [b'a'; MOST];
    next[..MOST - 1].copy_from_slice(&padded[1..]);
    let held: [u8; MOST] = array::from_fn(|at| u8::from(holds(padded[at], next[at])));
    held == [1; MOST]
}

/// The high bits of the slashes; behind the first, perhaps of others.
#[inline]
fn slashes(word: u64) -> u64 {
    let zeros = word ^ splat(b'/');
    // A borrow from a zero byte spoils higher ones only.
    zeros.wrapping_sub(splat(1)) & !zeros & splat(0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_segment_ends_at_the_first_slash(text in "[a./0]{0,8}[a-z.0\u{80}-\u{ff}]{0,24}/?.{0,20}") {
            let len = text.find('/').unwrap_or(text.len());
            prop_assert_eq!(split(text.as_bytes()), text.as_bytes().split_at(len));
        }

        #[test]
        fn a_word_is_padded_with_slashes(text in proptest::collection::vec(any::<u8>(), 0..12)) {
            let padded = text.iter().copied().chain([b'/'; WORD]);
            let bytes: Vec<_> = padded.take(WORD).collect();
            prop_assert_eq!(word(&text).to_le_bytes().to_vec(), bytes);
        }
    }
}

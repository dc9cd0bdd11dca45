//! The first of a few bytes.

/// Bytes that are looked at together. The compiler makes vector instructions of a block.
const BLOCK: usize = 32;

/// Where the first of the `wanted` bytes stands.
pub(super) fn first_of<const N: usize>(wanted: [u8; N], data: &[u8]) -> Option<usize> {
    // Sums and not `||`: a branch for each byte would keep a block from being looked at in one go.
    let hits = |byte: u8| -> u8 { wanted.iter().map(|&one| u8::from(byte == one)).sum() };
    let has_one = |block: &[u8]| block.iter().fold(0, |all, &byte| all | hits(byte)) != 0;
    let without = data.chunks_exact(BLOCK).take_while(|block| !has_one(block));
    let start = without.count() * BLOCK;
    let rest = data[start..].iter();
    rest.copied()
        .position(|byte| hits(byte) != 0)
        .map(|offset| start + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_it_stands() {
        for len in 0..100 {
            let mut data = vec![b'x'; len];
            assert_eq!(first_of([b'"', b'\\'], &data), None);
            for at in (0..len).rev() {
                data[at] = if at % 2 == 0 { b'"' } else { b'\\' };
                assert_eq!(first_of([b'"', b'\\'], &data), Some(at));
            }
        }
    }
}

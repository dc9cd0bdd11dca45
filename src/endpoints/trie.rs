//! Which template a path and a method belong to, among those of one host.
//!
//! A trie with a segment on each edge. Of the ways down that a path leaves open, the search takes
//! the literal one first, then the parameter, then the catch-all, and returns to the next when one
//! ends in nothing (or in other methods only). Since each node has one way up, a search comes to
//! each node at most once: however a hostile path is made, it costs no more than there are nodes,
//! and goes no deeper than the longest template.

use std::cmp::Ordering;

use http::Method;

use super::{SpecId, template::Segment};

#[derive(Debug)]
pub(super) struct Trie {
    /// The root is the first; children are indices, so that a long chain needs no recursion to
    /// be dropped.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by [`cmp_by_len`].
    literals: Vec<(Box<str>, usize)>,
    parameter: Option<usize>,
    /// For paths that end here.
    here: Leaf,
    /// For paths that go on from here in whatever way.
    below: Leaf,
}

/// One shape of path, with the methods that are limited by themselves.
#[derive(Debug, Default)]
struct Leaf {
    by_method: Vec<(Method, SpecId)>,
    any_method: Option<SpecId>,
}

const ROOT: usize = 0;

impl Default for Trie {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

impl Trie {
    /// Adds a template; no other of the same shape was added before.
    pub(super) fn insert(&mut self, segments: &[Segment], method: Option<&Method>, spec: SpecId) {
        let mut at = ROOT;
        let mut below = false;
        for segment in segments {
            match segment {
                Segment::Literal(text) => at = self.literal_child(at, text),
                Segment::Parameter => at = self.parameter_child(at),
                // The last one, so the node is the one that was reached.
                Segment::CatchAll => below = true,
            }
        }
        let node = &mut self.nodes[at];
        let leaf = if below {
            &mut node.below
        } else {
            &mut node.here
        };
        match method {
            Some(method) => leaf.by_method.push((method.clone(), spec)),
            None => leaf.any_method = Some(spec),
        }
    }

    /// The best match for a path in normal form.
    pub(super) fn find(&self, path: &str, method: &Method) -> Option<SpecId> {
        // The root's own path is the one that ends in a slash.
        let rest = if path == "/" { "" } else { path };
        self.find_below(ROOT, rest.as_bytes(), method)
    }

    /// `rest` is empty or begins with a slash.
    fn find_below(&self, at: usize, rest: &[u8], method: &Method) -> Option<SpecId> {
        let (mut node, mut rest) = (&self.nodes[at], rest);
        while let [_slash, tail @ ..] = rest {
            let (segment, tail) = tail.split_at(segment_len(tail));
            let next = match (node.literal(segment), node.parameter) {
                // The usual case: with one way down, there is nothing to return to.
                (Some(only), None) | (None, Some(only)) if node.below.is_empty() => only,
                (literal, parameter) => {
                    return literal
                        .and_then(|child| self.find_below(child, tail, method))
                        .or_else(|| self.find_below(parameter?, tail, method))
                        .or_else(|| node.below.find(method));
                }
            };
            (node, rest) = (&self.nodes[next], tail);
        }
        node.here.find(method)
    }

    fn literal_child(&mut self, at: usize, text: &str) -> usize {
        let next = self.nodes.len();
        match self.nodes[at].search(text.as_bytes()) {
            Ok(found) => self.nodes[at].literals[found].1,
            Err(place) => {
                self.nodes[at].literals.insert(place, (text.into(), next));
                self.nodes.push(Node::default());
                next
            }
        }
    }

    fn parameter_child(&mut self, at: usize) -> usize {
        let next = self.nodes.len();
        let child = *self.nodes[at].parameter.get_or_insert(next);
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }
}

impl Node {
    #[inline]
    fn literal(&self, segment: &[u8]) -> Option<usize> {
        // Most nodes have few children, and comparing for equality beats ordering them there.
        const FEW: usize = 8;
        let found = if self.literals.len() <= FEW {
            self.literals
                .iter()
                .position(|(text, _)| text.as_bytes() == segment)
        } else {
            self.search(segment).ok()
        };
        found.map(|found| self.literals[found].1)
    }

    fn search(&self, segment: &[u8]) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(text, _)| cmp_by_len(text.as_bytes(), segment))
    }
}

impl Leaf {
    fn is_empty(&self) -> bool {
        self.by_method.is_empty() && self.any_method.is_none()
    }

    fn find(&self, method: &Method) -> Option<SpecId> {
        self.by_method
            .iter()
            .find(|(of, _)| of == method)
            .map(|&(_, spec)| spec)
            .or(self.any_method)
    }
}

/// An order for look-ups: mostly decided by the length, before any byte is read.
pub(super) fn cmp_by_len(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The length up to the next slash or the end, in words of eight bytes: identifiers are long, and a
/// byte at a time was a third of the whole look-up.
fn segment_len(rest: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    const SLASHES: u64 = ONES * b'/' as u64;

    let (words, tail) = rest.split_at(rest.len() - rest.len() % 8);
    for (at, word) in words.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("a chunk of eight bytes"));
        let zeros = word ^ SLASHES;
        // The lowest bit set is that of the first zero byte; a borrow spoils higher ones only.
        let found = zeros.wrapping_sub(ONES) & !zeros & HIGH;
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let in_tail = tail.iter().position(|&byte| byte == b'/');
    words.len() + in_tail.unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_segment_ends_at_the_first_slash(text in "[a./0]{0,8}[a-z.0\u{80}-\u{ff}]{0,24}/?.{0,20}") {
            let len = text.find('/').unwrap_or(text.len());
            prop_assert_eq!(segment_len(text.as_bytes()), len);
        }
    }
}

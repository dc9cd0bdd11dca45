//! Which template a path and a method belong to, among those of one host.
//!
//! A trie with one or more segments on each edge. Of the ways down that a path leaves open, the search
//! takes the literal one first, then the parameter, then the catch-all, and returns to the next when one
//! ends in nothing (or in other methods only). Since each node has one way up, a search comes to
//! each node at most once: however a hostile path is made, it costs no more than there are nodes,
//! and goes no deeper than the longest template.
//!
//! A path is searched as it came, in normal form or not, which spares a pass over it: see
//! [`Trie::find`].

use std::collections::HashMap;

use foldhash::fast::RandomState;
use http::Method;

use super::{
    normalize,
    segment::{WORD, split, word},
    spec::SpecId,
    template::Segment,
};

#[derive(Debug)]
pub(super) struct Trie {
    /// The root is the first; children are indices, so that a long chain needs no recursion to
    /// be dropped.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// No two of them have the same first segment.
    literals: Vec<Edge>,
    /// Where to find them by their first segments, once they are more than [`FEW`].
    by_first: HashMap<Box<[u8]>, usize, RandomState>,
    parameter: Option<usize>,
    /// For paths that end here.
    here: Leaf,
    /// For paths that go on from here in whatever way.
    below: Option<Box<Leaf>>,
}

/// A way down that is spelled out. Segments on which nothing else ends or branches are on one edge, and
/// are compared at once, as words.
#[derive(Debug)]
struct Edge {
    /// A slash before each segment.
    text: Box<[u8]>,
    /// The beginning of the text as a number, and which of its bits count: the quick way to tell that a
    /// path goes elsewhere.
    head: u64,
    mask: u64,
    child: usize,
}

/// One shape of path, with the methods that are limited by themselves.
#[derive(Debug, Default)]
struct Leaf {
    /// The first [`FEW`].
    by_method: Vec<(Method, SpecId)>,
    /// The methods beyond these.
    more: HashMap<Method, SpecId, RandomState>,
    any_method: Option<SpecId>,
}

/// Whether a search has gone by something that the path might equal in another spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Nothing,
    Something,
}

impl Passed {
    /// What is left of a path behind the first segment, if a parameter takes that.
    #[expect(clippy::inline_always, reason = "it is half of each look-up")]
    #[inline(always)]
    fn parameter(self, path: &[u8]) -> Option<&[u8]> {
        let (segment, below) = split(path);
        let fits = match self {
            Self::Nothing => !normalize::may_vanish(segment),
            Self::Something => normalize::is_normal_segment(segment),
        };
        fits.then_some(below)
    }
}

const ROOT: usize = 0;

/// Up to so many ways down, or methods, are tried one by one: that is faster than hashing.
const FEW: usize = 8;

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
        let mut literals = Vec::new();
        let mut below = false;
        for segment in segments {
            match segment {
                Segment::Literal(text) => {
                    literals.push(b'/');
                    literals.extend(text.bytes());
                }
                Segment::Parameter => {
                    at = self.literal_child(at, &literals);
                    literals.clear();
                    at = self.parameter_child(at);
                }
                // The last one, so it belongs to the node that is reached.
                Segment::CatchAll => below = true,
            }
        }
        at = self.literal_child(at, &literals);
        let node = &mut self.nodes[at];
        let leaf = if below {
            node.below.get_or_insert_default()
        } else {
            &mut node.here
        };
        match method {
            Some(method) if leaf.by_method.len() < FEW => {
                leaf.by_method.push((method.clone(), spec));
            }
            Some(method) => {
                leaf.more.insert(method.clone(), spec);
            }
            None => leaf.any_method = Some(spec),
        }
    }

    /// The best match for a path. What is found holds for its normal form as well; if nothing is found
    /// for a path that is not in normal form, there may be something for that.
    ///
    /// In normal form, a path has the same segments in another spelling, less those that are empty or
    /// consist of dots. Literals are in normal form, and so is what equals one. What a parameter takes may
    /// be in any form in which it stays a segment, as long as nothing was passed by that another spelling
    /// could have equalled: a literal beside the parameter or further up, or the templates of a host
    /// (`passed`). Otherwise, and for a catch-all, it has to be in normal form.
    #[inline]
    pub(super) fn find(&self, path: &str, method: &Method, passed: Passed) -> Option<SpecId> {
        match path.as_bytes() {
            // The root's own path is the one that ends in a slash.
            b"/" => self.find_below(ROOT, &[], method, passed),
            path @ [b'/', ..] => self.find_below(ROOT, path, method, passed),
            _ => None,
        }
    }

    /// `rest` is empty or begins with a slash.
    fn find_below(
        &self,
        at: usize,
        rest: &[u8],
        method: &Method,
        mut passed: Passed,
    ) -> Option<SpecId> {
        let (mut node, mut rest) = (&self.nodes[at], rest);
        while let [_slash, tail @ ..] = rest {
            if let Some(edge) = node.literal(rest) {
                let below = &rest[edge.text.len()..];
                // Where no other way leads on, there is nothing to return to. That is the usual case.
                if node.parameter.is_none() && node.below.is_none() {
                    (node, rest) = (&self.nodes[edge.child], below);
                    continue;
                }
                let found = self.find_below(edge.child, below, method, passed);
                if found.is_some() {
                    return found;
                }
            }
            if !node.literals.is_empty() {
                passed = Passed::Something;
            }
            let parameter = || Some((node.parameter?, passed.parameter(tail)?));
            if let Some((child, below)) = parameter() {
                if node.below.is_none() {
                    (node, rest) = (&self.nodes[child], below);
                    continue;
                }
                let found = self.find_below(child, below, method, passed);
                if found.is_some() {
                    return found;
                }
            }
            let found = node.below.as_ref()?.find(method)?;
            return normalize::are_normal_segments(rest).then_some(found);
        }
        node.here.find(method)
    }

    /// The node below `at` that `text` leads to: no, one or more segments with a slash before each.
    fn literal_child(&mut self, at: usize, text: &[u8]) -> usize {
        if text.is_empty() {
            return at;
        }
        let node = &self.nodes[at];
        let Some(found) = node.search(first_segment(text)) else {
            let child = self.add(Node::default());
            self.nodes[at].add_literal(Edge::new(text, child));
            return child;
        };
        let edge = &node.literals[found];
        let shared = shared_segments(&edge.text, text);
        if shared < edge.text.len() {
            self.split_edge(at, found, shared);
        }
        let child = self.nodes[at].literals[found].child;
        self.literal_child(child, &text[shared..])
    }

    /// Puts a node onto an edge, behind its first `len` bytes.
    fn split_edge(&mut self, at: usize, edge: usize, len: usize) {
        let Edge { text, child, .. } = &self.nodes[at].literals[edge];
        let (above, below) = (text[..len].to_vec(), Edge::new(&text[len..], *child));
        let between = self.add(Node {
            literals: vec![below],
            ..Node::default()
        });
        self.nodes[at].literals[edge] = Edge::new(&above, between);
    }

    fn parameter_child(&mut self, at: usize) -> usize {
        if let Some(child) = self.nodes[at].parameter {
            return child;
        }
        let child = self.add(Node::default());
        self.nodes[at].parameter = Some(child);
        child
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

impl Node {
    /// The literal with which a path goes on.
    #[expect(clippy::inline_always, reason = "it is half of each look-up")]
    #[inline(always)]
    fn literal(&self, path: &[u8]) -> Option<&Edge> {
        if self.literals.is_empty() {
            return None;
        }
        let head = word(path);
        if self.literals.len() > FEW {
            return self.literal_of_many(path, head);
        }
        self.literals.iter().find(|edge| edge.begins(path, head))
    }

    #[inline(never)]
    fn literal_of_many(&self, path: &[u8], head: u64) -> Option<&Edge> {
        let found = self.search(first_segment(path))?;
        Some(&self.literals[found]).filter(|edge| edge.begins(path, head))
    }

    fn search(&self, first: &[u8]) -> Option<usize> {
        if self.literals.len() <= FEW {
            let mut literals = self.literals.iter();
            return literals.position(|edge| edge.first() == first);
        }
        self.by_first.get(first).copied()
    }

    /// Its first segment is not among those that are there.
    fn add_literal(&mut self, edge: Edge) {
        self.literals.push(edge);
        if self.literals.len() > FEW {
            let unknown = self.literals.iter().enumerate().skip(self.by_first.len());
            self.by_first
                .extend(unknown.map(|(at, edge)| (edge.first().into(), at)));
        }
    }
}

impl Edge {
    fn new(text: &[u8], child: usize) -> Self {
        let mask = u64::MAX >> (8 * WORD.saturating_sub(text.len()));
        Self {
            head: word(text) & mask,
            mask,
            text: text.into(),
            child,
        }
    }

    fn first(&self) -> &[u8] {
        first_segment(&self.text)
    }

    /// Whether a path begins so.
    #[inline]
    fn begins(&self, path: &[u8], head: u64) -> bool {
        let len = self.text.len();
        let ends_so = || {
            let last = |text: &[u8]| word(&text[len - WORD..]);
            last(path) == last(&self.text) && (len <= 2 * WORD || path.starts_with(&self.text))
        };
        head & self.mask == self.head
            && path.len() >= len
            && (len <= WORD || ends_so())
            && matches!(path[len..], [] | [b'/', ..])
    }
}

impl Leaf {
    #[inline]
    fn find(&self, method: &Method) -> Option<SpecId> {
        let mut few = self.by_method.iter();
        few.find(|(of, _)| of == method)
            .map(|&(_, spec)| spec)
            .or_else(|| self.find_more(method))
            .or(self.any_method)
    }

    /// Out of line, so that the search of a small table stays as short as it is.
    #[inline(never)]
    fn find_more(&self, method: &Method) -> Option<SpecId> {
        self.more.get(method).copied()
    }
}

/// Of a path that begins with a slash.
fn first_segment(path: &[u8]) -> &[u8] {
    split(&path[1..]).0
}

/// How many bytes the segments take with which both begin.
fn shared_segments(a: &[u8], b: &[u8]) -> usize {
    let (mut a, mut b, mut shared) = (a, b, 0);
    while let ([b'/', a_tail @ ..], [b'/', b_tail @ ..]) = (a, b) {
        let (a_first, a_rest) = split(a_tail);
        let (b_first, b_rest) = split(b_tail);
        if a_first != b_first {
            break;
        }
        shared += 1 + a_first.len();
        (a, b) = (a_rest, b_rest);
    }
    shared
}

//! Which template a path and a method belong to, among those of one host.
//!
//! A trie with a segment on each edge. Of the ways down that a path leaves open, the search takes
//! the literal one first, then the parameter, then the catch-all, and returns to the next when one
//! ends in nothing (or in other methods only). Since each node has one way up, a search comes to
//! each node at most once: however a hostile path is made, it costs no more than there are nodes,
//! and goes no deeper than the longest template.

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
    /// Sorted by text.
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
        self.find_below(ROOT, rest, method)
    }

    /// `rest` is empty or begins with a slash.
    fn find_below(&self, node: usize, rest: &str, method: &Method) -> Option<SpecId> {
        let node = &self.nodes[node];
        let Some(rest) = rest.strip_prefix('/') else {
            return node.here.find(method);
        };
        let end = rest.bytes().position(|byte| byte == b'/');
        let (segment, rest) = rest.split_at(end.unwrap_or(rest.len()));
        node.literal(segment)
            .and_then(|child| self.find_below(child, rest, method))
            .or_else(|| self.find_below(node.parameter?, rest, method))
            .or_else(|| node.below.find(method))
    }

    fn literal_child(&mut self, at: usize, text: &str) -> usize {
        let next = self.nodes.len();
        match self.nodes[at].search(text) {
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
    fn literal(&self, segment: &str) -> Option<usize> {
        self.search(segment)
            .ok()
            .map(|found| self.literals[found].1)
    }

    fn search(&self, segment: &str) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(text, _)| (**text).cmp(segment))
    }
}

impl Leaf {
    fn find(&self, method: &Method) -> Option<SpecId> {
        self.by_method
            .iter()
            .find(|(of, _)| of == method)
            .map(|&(_, spec)| spec)
            .or(self.any_method)
    }
}

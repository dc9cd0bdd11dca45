use std::collections::VecDeque;

use crate::steps;

/// A queue whose values stay where they are until all of their chunk have left.
///
/// An ordinary queue moves all of its values when it grows, and the engine's lock is held meanwhile.
#[derive(Debug)]
pub(super) struct Chunked<T> {
    /// All of them are full but the last one.
    chunks: VecDeque<Vec<T>>,
    /// How many of the first chunk have left. Fewer than a chunk.
    left: usize,
}

const CHUNK: usize = 512;

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            left: 0,
        }
    }
}

impl<T: Copy> Chunked<T> {
    /// For values of which there are many from the start: the first chunk has its full size at once.
    pub(super) fn of_many() -> Self {
        Self {
            chunks: VecDeque::from([Vec::with_capacity(CHUNK)]),
            left: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1);
        full * CHUNK + self.chunks.back().map_or(0, Vec::len) - self.left
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they take many pieces of memory.
    pub(super) fn is_large(&self) -> bool {
        self.chunks.len() > 1
    }

    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The value that `index` others precede. It has to be there.
    pub(super) fn get(&self, index: usize) -> T {
        steps::count(1);
        let index = self.left + index;
        self.chunks[index / CHUNK][index % CHUNK]
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut T {
        steps::count(1);
        let index = self.left + index;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    pub(super) fn push_back(&mut self, value: T) {
        steps::count(1);
        match self.chunks.back_mut() {
            Some(last) if last.len() < CHUNK => {
                if last.len() == last.capacity() {
                    steps::count(last.len());
                }
                last.push(value);
            }
            _ => {
                // Only the list of chunks doubles.
                if self.chunks.len() == self.chunks.capacity() {
                    steps::count(self.chunks.len());
                }
                // The first one grows: most have few values.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK });
                chunk.push(value);
                self.chunks.push_back(chunk);
            }
        }
    }

    /// There has to be a value.
    pub(super) fn pop_front(&mut self) -> T {
        steps::count(1);
        let value = self.chunks[0][self.left];
        self.left += 1;
        if self.left == self.chunks[0].len() && self.chunks.len() == 1 {
            // Its memory is for those that come.
            self.chunks[0].clear();
            self.left = 0;
        } else if self.left == CHUNK {
            self.left = 0;
            self.chunks.pop_front();
        }
        value
    }

    /// The number of values in front of the first for which `is_before` does not hold. It holds for those only.
    pub(super) fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        let whole = |chunk: &Vec<T>| chunk.last().is_some_and(&is_before);
        let whole = self.chunks.partition_point(whole);
        let part = self.chunks.get(whole);
        let part = part.map_or(0, |chunk| chunk.partition_point(&is_before));
        // Values that have left are before all others, but `is_before` need not hold for them.
        (whole * CHUNK + part)
            .saturating_sub(self.left)
            .min(self.len())
    }
}

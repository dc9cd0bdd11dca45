use std::ops::{Index, IndexMut};

use super::{arena::Arena, scope::Scope};
use crate::endpoints::SpecId;

/// All scopes, those of earlier configurations included as long as something of them is left.
///
/// Those that a layer begins with stand together, as most layers never have others. They stay for ever.
#[derive(Debug)]
pub(in crate::admission) struct Scopes {
    first: Box<[Scope]>,
    /// Their numbers go on where those of the first ones end.
    later: Arena<Scope>,
}

/// All scopes, to be looked at. A loop that changes nodes keeps this at hand.
#[derive(Clone, Copy)]
pub(in crate::admission) struct View<'a> {
    first: &'a [Scope],
    later: &'a Arena<Scope>,
}

impl Index<usize> for View<'_> {
    type Output = Scope;

    #[inline]
    fn index(&self, index: usize) -> &Scope {
        match self.first.get(index) {
            Some(scope) => scope,
            None => later(self.later, index - self.first.len()),
        }
    }
}

#[cold]
#[inline(never)]
fn later(scopes: &Arena<Scope>, index: usize) -> &Scope {
    &scopes[index]
}

impl Scopes {
    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        View {
            first: &self.first,
            later: &self.later,
        }
    }

    pub(super) fn new(first: Box<[Scope]>) -> Self {
        Self {
            first,
            later: Arena::new(),
        }
    }

    /// One of the first, or `LATER` perhaps another.
    #[inline]
    pub(super) fn of<const LATER: bool>(&self, id: SpecId) -> &Scope {
        let index = id.0 as usize;
        if LATER {
            &self[index]
        } else {
            &self.first[index]
        }
    }

    /// Greater than the number of each.
    pub(super) fn end(&self) -> usize {
        self.first.len() + self.later.end()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Scope> {
        match self.first.get(index) {
            Some(scope) => Some(scope),
            None => self.later.get(index - self.first.len()),
        }
    }

    pub(super) fn insert(&mut self, scope: Scope) -> SpecId {
        let index = self.first.len() + self.later.insert(scope);
        SpecId(u32::try_from(index).expect("fewer scopes than 2^32"))
    }

    pub(super) fn remove(&mut self, id: SpecId) -> Option<Scope> {
        self.later.remove(id.0 as usize - self.first.len())
    }

    #[cold]
    fn later_mut(&mut self, index: usize) -> &mut Scope {
        let first = self.first.len();
        &mut self.later[index - first]
    }
}

impl Index<usize> for Scopes {
    type Output = Scope;

    #[inline]
    fn index(&self, index: usize) -> &Scope {
        match self.first.get(index) {
            Some(scope) => scope,
            None => later(&self.later, index - self.first.len()),
        }
    }
}

impl IndexMut<usize> for Scopes {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut Scope {
        if index < self.first.len() {
            return &mut self.first[index];
        }
        self.later_mut(index)
    }
}

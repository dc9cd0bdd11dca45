use slab::Slab;

use super::{age::Age, ids::WaiterId, taken::Taken, tree::Tree, waiter::Waiter};
use crate::{
    bucket::{Face, Tick},
    endpoints::Routes,
    error::Refused,
};

/// Everything behind the engine's lock. Takes the time as data, and leaves wakers to be woken in a
/// [`Wakes`](super::wakes::Wakes), so nothing here blocks or runs foreign code.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) waiters: Slab<Waiter>,
    /// How many waiters have a limit of their own, and so must hear of every new delay.
    pub(super) limited: usize,
}

/// What a look at one's place in the queue finds.
#[derive(Debug)]
pub(super) enum Look {
    /// Its places, and its age, in case it has to come back.
    Granted(Taken, Age),
    Refused(Refused),
    /// Look again when woken, and at this time.
    Wait(WaiterId, Tick),
}

impl State {
    pub(super) fn new(routes: &Routes, face: Face, now: Tick) -> Self {
        Self {
            tree: Tree::new(routes, face, now),
            waiters: Slab::new(),
            limited: 0,
        }
    }
}

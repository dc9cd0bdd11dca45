use std::fmt;

use super::core::Setback;
use crate::{
    bucket::Tick,
    costs::{Asks, SettleBody},
    waited::Waited,
};

/// What few dispatched requests have: a boxed value, so that the others carry one word.
#[derive(Default)]
pub(super) struct Aside(Option<Box<Rare>>);

#[derive(Default)]
struct Rare {
    /// What it asks for, until it waits for its turn.
    asks: Option<Box<Asks>>,
    /// What came of the attempt before.
    setback: Option<Setback>,
    reading: Option<Reading>,
    /// For how long it was held back, if anybody wants to know, and if it was.
    waited: Waited,
    /// When it was dispatched, if somebody observes.
    dispatched: Option<Tick>,
}

/// Reads from an answer what its request has cost.
pub(super) struct Reading {
    reader: Option<Box<dyn SettleBody>>,
    /// Whether it has found anything.
    pub(super) found: bool,
}

impl Aside {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn with(setback: Option<Setback>) -> Self {
        Self(setback.map(|setback| {
            Box::new(Rare {
                setback: Some(setback),
                ..Rare::default()
            })
        }))
    }

    pub(super) fn asking(asks: Option<Box<Asks>>) -> Self {
        Self(asks.map(|asks| {
            Box::new(Rare {
                asks: Some(asks),
                ..Rare::default()
            })
        }))
    }

    pub(super) fn take_asks(&mut self) -> Option<Box<Asks>> {
        self.0.as_mut()?.asks.take()
    }

    #[inline]
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn set_waited(&mut self, waited: Waited) {
        if waited != Waited::default() {
            self.0.get_or_insert_default().waited = waited;
        }
    }

    pub(super) fn waited(&self) -> Waited {
        let some = self.0.as_ref();
        some.map_or_else(Waited::default, |some| some.waited)
    }

    pub(super) fn set_dispatched(&mut self, at: Tick) {
        self.0.get_or_insert_default().dispatched = Some(at);
    }

    pub(super) fn dispatched(&self) -> Option<Tick> {
        self.0.as_ref()?.dispatched
    }

    pub(super) fn setback(&self) -> Option<&Setback> {
        self.0.as_ref()?.setback.as_ref()
    }

    /// From now on its answer is read by this, for what it says about the cost.
    pub(super) fn read_by(&mut self, reader: Option<Box<dyn SettleBody>>, found: bool) {
        self.0.get_or_insert_default().reading = Some(Reading { reader, found });
    }

    pub(super) fn reading(&mut self) -> Option<&mut Reading> {
        self.0.as_mut()?.reading.as_mut()
    }

    pub(super) fn reader(&mut self) -> Option<&mut (dyn SettleBody + 'static)> {
        self.reading()?.reader.as_deref_mut()
    }
}

/// In place where there is nothing to drop, which is almost always.
impl Drop for Aside {
    #[inline]
    fn drop(&mut self) {
        if let Some(some) = self.0.take() {
            discard(some);
        }
    }
}

#[cold]
fn discard(some: Box<Rare>) {
    drop(some);
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aside").field(&self.setback()).finish()
    }
}

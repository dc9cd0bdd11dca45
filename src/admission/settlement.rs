use std::{error::Error, fmt, sync::Arc};

use super::{
    core::{Claim, Settler},
    shared::Shared,
};
use crate::costs::{Cost, Unit};

/// Tells a limiting layer what a request has cost: a response extension.
///
/// Answers have it whose endpoint, or a wider scope, counts something besides requests, whatever their status. What was
/// estimated counts until it is settled. Less than that lets others go at
/// once; more closes the window for as long as it takes, and is no error. Where the server counts
/// [at the answer's end](crate::Unit::at_end), what is settled by hand counts from then on, also if the body has not
/// ended. What nobody settles counts as it was estimated: from the answer's end on, or from when the last clone of this
/// is dropped, if that is later. So do not keep one without using it, nor the head of an answer.
///
/// All clones settle the same request. The last call counts, and goes before what a [`Settle`](crate::Settle) reads,
/// whichever comes first. It may come at any time, from any thread, also when the layer is gone. It takes the layer's
/// lock for a moment, and waits for nothing.
///
/// ```
/// use tower_throttle::{Cost, Settlement, Unit};
///
/// fn settle<B>(response: &http::Response<B>, tokens: u64) {
///     if let Some(settlement) = response.extensions().get::<Settlement>() {
///         settlement.settle(Cost::new().of(Unit::TOKENS, tokens));
///     }
/// }
/// # settle(&http::Response::new(()), 5);
/// ```
#[derive(Clone)]
pub struct Settlement(Arc<Hold>);

struct Hold {
    shared: Arc<Shared>,
    claim: Claim,
    estimate: Cost,
}

impl Settlement {
    /// `None` if nothing is counted but requests.
    pub(super) fn new(shared: &Arc<Shared>, claim: Claim, is_accepted: bool) -> Option<Self> {
        let estimate = (shared.engine).with_at(claim.leaf, |core, _, _| {
            core.tree.hold_charge(claim, is_accepted)
        })?;
        Some(Self(Arc::new(Hold {
            shared: Arc::clone(shared),
            claim,
            estimate,
        })))
    }

    /// What the request has cost, in each unit that is stated.
    ///
    /// What is stated of a unit that its endpoint does not count, of requests and of permits has no effect;
    /// [`try_settle`](Self::try_settle) says so.
    pub fn settle(&self, actual: Cost) {
        drop(self.try_settle(actual));
    }

    /// As [`settle`](Self::settle), and says if that has no effect on some unit.
    ///
    /// # Errors
    ///
    /// If `actual` states something of a unit that the endpoint does not count. What it states of others is settled
    /// all the same.
    #[expect(clippy::needless_pass_by_value, reason = "as `settle`, which is fixed")]
    pub fn try_settle(&self, actual: Cost) -> Result<(), UnknownUnit> {
        let Hold {
            shared,
            claim,
            estimate,
        } = &*self.0;
        let (claim, by) = (*claim, Settler::Hand);
        shared.engine.with_at(claim.leaf, |core, now, fx| {
            core.settled(claim, &actual, by, now, fx);
        });
        let unknown = actual
            .units()
            .find(|&(unit, _)| estimate.get(unit).is_none());
        unknown.map_or(Ok(()), |(unit, _)| {
            Err(UnknownUnit {
                unit,
                known: estimate.units().map(|(unit, _)| unit).collect(),
            })
        })
    }

    /// What the request is taken to cost in each unit that its endpoint counts, requests apart, when the answer comes:
    /// what was estimated when it was admitted, unless the head of the answer has said something else.
    pub fn estimate(&self) -> &Cost {
        &self.0.estimate
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (claim, engine) = (self.claim, &self.shared.engine);
        engine.with_at(claim.leaf, |core, now, fx| core.end_hold(claim, now, fx));
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settlement")
            .field("estimate", &self.0.estimate)
            .finish_non_exhaustive()
    }
}

/// A cost in a unit that the endpoint of the request does not count: from [`Settlement::try_settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUnit {
    unit: Unit,
    known: Vec<Unit>,
}

impl UnknownUnit {
    /// The unit.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The units that the endpoint counts, requests apart.
    pub fn known(&self) -> &[Unit] {
        &self.known
    }
}

impl fmt::Display for UnknownUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the endpoint does not count `{}`: expected ", self.unit)?;
        let mut separator = "";
        for unit in &self.known {
            write!(f, "{separator}`{unit}`")?;
            separator = " or ";
        }
        Ok(())
    }
}

impl Error for UnknownUnit {}

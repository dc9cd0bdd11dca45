//! Everything behind the engine's lock: it takes the time as data, and answers with decisions.
//!
//! No waker, no clock and no lock is known here. What follows from a decision is left in [`Effects`].
//!
//! - [`tree`]: may it go? Scopes, their buckets, and what a request takes of them. [`keys`] has the
//!   buckets that come and go; [`index`] finds them, and [`arena`] keeps them.
//! - [`queue`]: which one goes? A request's way through its queue. [`contest`] has the heads, from the
//!   leaves to the root, [`absence`] the waiters that do not take their turn, [`slots`] when a turn comes, [`shedding`]
//!   who makes room for a newcomer.
//! - [`closing`]: nobody is let through any more. [`bodies`]: answers whose bodies are open while others wait for their
//!   permits; [`awaited`] says what a request waits for.
//! - [`charges`]: what requests take that is not one request and one permit; [`charge`] has the data of it.
//! - [`settlements`]: what follows when it is known what a request has cost.
//! - [`feedback`]: what answers teach, and to which bucket.
//! - [`reload`]: scopes that come and go; [`kin`] and [`pools`]: their buckets, which count together; [`moving`]: who
//!   waits goes on at another one.
//! - [`passage`]: buckets that are out of the tree for a while, for calls that need nothing else.
//! - [`fleet`]: slots that a store has granted, and what it is to be told. [`asking`] makes the calls, [`hearing`] takes
//!   the answers, [`reserved`] has the way of a slot.
//! - [`effects`]: what follows: the waiters to wake, the events to tell.
//! - [`state`]: all of it in one object; [`timers`] and [`work`]: what is due later, and what is left for the
//!   next hold of the lock.

mod absence;
mod arena;
mod asking;
mod awaited;
mod bodies;
mod charge;
mod charges;
mod claim;
mod claimants;
mod closing;
mod contest;
mod effects;
mod families;
mod feedback;
mod fleet;
mod floor;
mod floors;
mod flows;
mod frozen;
mod graces;
mod hearing;
mod ids;
mod index;
mod keys;
mod kin;
mod line;
mod moving;
mod node;
mod open_bodies;
mod overdue;
mod passage;
mod pauses;
mod pooling;
mod pools;
mod queue;
mod ranked;
mod reload;
mod reserved;
mod scope;
mod scopes;
mod settlements;
mod shares;
mod shedding;
mod slots;
mod state;
mod sweep;
mod task;
mod text;
mod tier;
mod tiers;
mod timers;
mod tree;
mod unheard;
mod waiter;
mod work;

pub use self::awaited::Awaited;
pub(super) use self::{
    awaited::Awaits,
    charge::Settler,
    claim::Claim,
    effects::{Decider, Decision, Effects, Told},
    feedback::{Reopens, Setback, says_something},
    fleet::Fleet,
    graces::Abandoned,
    ids::{NodeId, WaiterId},
    keys::{Garbage, KeyHasher},
    node::Node,
    passage::{Done, Passage},
    pools::Collecting,
    queue::{Entry, TakeOutcome, WaitOutcome},
    reload::NewScope,
    state::Core,
    tier::Tier,
    tree::Tree,
    waiter::WaitLimit,
};

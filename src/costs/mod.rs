//! What requests cost: units, what a request takes of them, and what its answer says it has taken.

mod cost;
mod estimate;
mod find;
mod flow;
mod json;
mod pricing;
mod priority;
mod settle;
mod terms;
mod unit;
mod usage;

pub(crate) use self::pricing::{Asks, Pricing};
pub use self::{
    cost::Cost,
    estimate::estimate_chat,
    flow::Flow,
    priority::Priority,
    settle::{AnswerHead, Settle, SettleBody},
    terms::Terms,
    unit::Unit,
    usage::Usage,
};

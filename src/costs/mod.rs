//! What requests cost: units, what a request takes of them, and what its answer says it has taken.

mod cost;
mod estimate;
mod find;
mod json;
mod pricing;
mod priority;
mod ranking;
mod settle;
mod terms;
mod unit;
mod usage;

pub use self::{
    cost::Cost,
    estimate::estimate_chat,
    priority::Priority,
    settle::{AnswerHead, Settle, SettleBody},
    terms::Terms,
    unit::Unit,
    usage::Usage,
};
pub(crate) use self::{pricing::Pricing, ranking::Ranking};

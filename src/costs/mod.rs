//! What requests cost: units, what a request takes of them, and what its answer says it has taken.

mod cost;
mod estimate;
mod find;
mod json;
mod pricing;
mod settle;
mod terms;
mod unit;
mod usage;

pub(crate) use self::pricing::Pricing;
pub use self::{
    cost::Cost,
    estimate::estimate_chat,
    settle::{AnswerHead, Settle, SettleBody},
    terms::Terms,
    unit::Unit,
    usage::Usage,
};

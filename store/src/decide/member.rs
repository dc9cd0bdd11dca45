//! What is remembered of a member: its last call.

use crate::protocol::{Answer, Micros};

/// The last call of a member, so that its repetition gets the same answer.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Record {
    pub(super) seq: i64,
    pub(super) at: Micros,
    pub(super) answer: Answer,
}

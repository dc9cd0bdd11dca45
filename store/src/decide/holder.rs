use crate::protocol::Micros;

/// What one member holds in a scope.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Holder {
    pub(super) member: String,
    /// The lease's end.
    pub(super) until: Micros,
    pub(super) held: Vec<Held>,
}

/// What one request holds.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Held {
    pub(super) id: i64,
    pub(super) permits: i64,
    /// By unit: the estimate of what counts at the end.
    pub(super) charges: Vec<(String, i64)>,
}

impl Holder {
    pub(super) fn new(member: &str, until: Micros, held: Vec<Held>) -> Self {
        Self {
            member: member.to_owned(),
            until,
            held,
        }
    }
}

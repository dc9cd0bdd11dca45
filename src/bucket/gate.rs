use super::tick::Tick;

/// Whether a bucket admits one more request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Closed until then, if nothing else happens before.
    Until(Tick),
    /// Closed until something is given back, stamped or changed; no time can be named.
    Closed,
}

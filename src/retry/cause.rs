use http::StatusCode;

use crate::signal::SignalKind;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cause {
    /// The server refused because of a limit.
    Refusal(SignalKind, StatusCode),
    /// It may have: the status means something else to other servers.
    PerhapsRefusal(StatusCode),
    /// Any other answer of 400 and above.
    Answer(StatusCode),
    /// There was no connection on which to send the request.
    Unsent,
    /// The connection ended; what became of the request is unknown.
    Lost,
    /// No retry will help.
    Hopeless,
}

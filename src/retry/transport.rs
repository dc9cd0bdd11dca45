//! What the errors of HTTP clients tell about the requests that they ended.
//!
//! A request that was never sent may be sent again, whatever it asks for. One that may have arrived may
//! be carried out already. So whatever leaves a doubt is [`Cause::Lost`], and not [`Cause::Unsent`].

use std::{error::Error, io};

use super::cause::Cause;

/// What the first error of the chain that tells anything tells.
pub(super) fn cause(error: &(dyn Error + 'static)) -> Option<Cause> {
    let mut next = Some(error);
    while let Some(error) = next {
        let told = of_client(error)
            .or_else(|| error.downcast_ref().and_then(of_io))
            .or_else(|| of_timeout(error));
        if told.is_some() {
            return told;
        }
        next = below(error);
    }
    None
}

/// The error that this one was made of. Some leave it out of their sources.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    }
    #[cfg(feature = "hyper-client")]
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return error.get_io().map(|inner| inner as &(dyn Error + 'static));
    }
    error.source()
}

fn of_io(error: &io::Error) -> Option<Cause> {
    match error.kind() {
        // Only connecting ends like this.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable => Some(Cause::Unsent),
        // The request may have arrived before, and its answer may have been on its way.
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::TimedOut
        | io::ErrorKind::UnexpectedEof => Some(Cause::Lost),
        _ => None,
    }
}

/// Of a timeout around the client: nobody knows how far the request had got.
fn of_timeout(error: &(dyn Error + 'static)) -> Option<Cause> {
    let elapsed =
        error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>();
    elapsed.then_some(Cause::Lost)
}

#[cfg(not(feature = "hyper-client"))]
fn of_client(_: &(dyn Error + 'static)) -> Option<Cause> {
    None
}

#[cfg(feature = "hyper-client")]
fn of_client(error: &(dyn Error + 'static)) -> Option<Cause> {
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref() {
        return of_reqwest(error);
    }
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        // Of whatever kind: no name, no route, no time, no TLS.
        return error.is_connect().then_some(Cause::Unsent);
    }
    if let Some(error) = error.downcast_ref() {
        return of_hyper(error);
    }
    error.downcast_ref().and_then(of_h2)
}

#[cfg(feature = "reqwest")]
fn of_reqwest(error: &reqwest::Error) -> Option<Cause> {
    // Its timeouts are no `io::Error`s. The time for connecting is one of them.
    if error.is_connect() {
        Some(Cause::Unsent)
    } else if error.is_timeout() {
        Some(Cause::Lost)
    } else {
        None
    }
}

#[cfg(feature = "hyper-client")]
fn of_hyper(error: &hyper::Error) -> Option<Cause> {
    if error.is_canceled() || error.is_closed() {
        // The connection was gone before it took the request.
        Some(Cause::Unsent)
    } else if error.is_user() || error.is_body_write_aborted() {
        // It is the request's body that has failed; what failed there says nothing of the connection.
        Some(Cause::Hopeless)
    } else if error.is_incomplete_message() || error.is_timeout() {
        Some(Cause::Lost)
    } else {
        None
    }
}

/// RFC 9113, section 8.7, says what was certainly not processed.
#[cfg(feature = "hyper-client")]
fn of_h2(error: &h2::Error) -> Option<Cause> {
    if !error.is_remote() {
        return None;
    }
    let reason = error.reason();
    let refused = error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
    // Of a server that shuts down, h2 gives it only to streams that the server has not accepted.
    let shut_down = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
    Some(if refused || shut_down {
        Cause::Unsent
    } else {
        Cause::Lost
    })
}

#[cfg(all(test, feature = "hyper-client"))]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::*;

    #[tokio::test]
    async fn what_a_closed_connection_does_not_take_is_not_sent() {
        let (stream, other_end) = tokio::io::duplex(1_024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        drop((connection, other_end));
        let error = sender.ready().await.unwrap_err();
        assert!(error.is_closed());
        assert_eq!(cause(&error), Some(Cause::Unsent));
        let request = Request::new(Empty::<Bytes>::new());
        let error = sender.send_request(request).await.unwrap_err();
        assert!(error.is_canceled());
        assert_eq!(cause(&error), Some(Cause::Unsent));
    }

    #[test]
    fn what_a_client_finds_at_fault_with_http2_is_not_retried() {
        // h2 has these of itself, and not of the server.
        let error = h2::Error::from(h2::Reason::REFUSED_STREAM);
        assert_eq!(cause(&error), None);
    }
}

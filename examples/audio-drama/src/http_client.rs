//! The client that really sends: hyper's, over TCP or TLS.
//!
//! It follows no redirect, uses no proxy, and sends nothing twice by itself, so that each request on the
//! wire is one that the limits have admitted.

use std::{error::Error as StdError, fmt, io, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use tower_throttle::BoxError;

/// For how long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests. Clones share their connections.
pub type HttpClient = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// TLS cannot be spoken here.
#[derive(Debug)]
pub enum NoTls {
    /// The cryptography needs what this processor does not have.
    Processor,
    /// The system has no certificates to trust.
    NoRoots(Vec<rustls_native_certs::Error>),
    /// Any other reason.
    Other(rustls::Error),
}

/// A client for `http` only, if `tls` is not wanted; for `https` too, if it is.
///
/// # Errors
///
/// If TLS is wanted and cannot be had.
pub fn http_client(tls: bool) -> Result<HttpClient, NoTls> {
    let roots = if tls {
        system_roots()?
    } else {
        RootCertStore::empty()
    };
    client_trusting(roots, tls)
}

/// A client that trusts these certificates, and no others.
///
/// # Errors
///
/// As [`http_client`].
pub fn client_trusting(roots: RootCertStore, tls: bool) -> Result<HttpClient, NoTls> {
    // It would panic.
    if tls && !graviola::util::is_cpu_supported() {
        return Err(NoTls::Processor);
    }
    let tls = ClientConfig::builder_with_provider(rustls_graviola::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(NoTls::Other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Requests are small: with Nagle's algorithm each could wait for an acknowledgement.
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // What is sent again has to pass the limits again.
        .retry_canceled_requests(false)
        .build(connector))
}

fn system_roots() -> Result<RootCertStore, NoTls> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(NoTls::NoRoots(found.errors));
    }
    Ok(roots)
}

/// Says of an error that the connection ended in the middle of an answer, in a way in which the retry
/// layer understands it: hyper has a kind of its own for that, which is not an [`io::Error`].
pub(crate) fn as_io_error(error: BoxError) -> BoxError {
    let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(cause) = next {
        if cause.is::<io::Error>() {
            return error;
        }
        let cut_off = cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_incomplete_message() || error.is_canceled());
        if cut_off {
            return io::Error::new(io::ErrorKind::UnexpectedEof, error).into();
        }
        next = cause.source();
    }
    error
}

impl fmt::Display for NoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => f.write_str(
                "https needs a processor with AES and AVX2 (x86-64) or AES and SHA-2 (aarch64); \
                 put a proxy in front of the API, and give its http address",
            ),
            Self::NoRoots(errors) => {
                f.write_str("https needs certificates to trust, and the system has none")?;
                errors.iter().try_for_each(|error| write!(f, "; {error}"))
            }
            Self::Other(error) => write!(f, "https cannot be set up: {error}"),
        }
    }
}

impl StdError for NoTls {}

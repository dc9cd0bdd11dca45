//! Connections to the upstream.
//!
//! For another implementation of TLS, or other roots of trust, this is the file to change: hyper-util's client
//! takes any connector. What is here needs no C compiler, which is why the processors are named.

use std::time::Duration;

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower_throttle::BoxError;

use super::{options::Options, upload::Upload};

pub(crate) type HttpClient = Client<Connector, Upload>;

/// A connection that is not there by then will not be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After which silence the system asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A pool of connections.
///
/// It sends a request again if the connection that it took from the pool turns out to have been closed
/// before the first byte: the upstream has not seen it, so no limit has counted it either.
///
/// # Errors
///
/// If the upstream is https, and TLS is not to be had, or not with these certificates.
pub(crate) fn client(options: &Options) -> Result<HttpClient, BoxError> {
    let mut tcp = HttpConnector::new();
    // Without it, a small request can wait 40 ms for an acknowledgement of the one before.
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.enforce_http(false);
    let connector = connector(tcp, options)?;
    Ok(Client::builder(TokioExecutor::new())
        .http2_only(options.http2)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .build(connector))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use tls::{Connector, connector};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tls {
    use std::{path::Path, sync::Arc};

    use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
    use hyper_util::client::legacy::connect::HttpConnector;
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject},
    };
    use tower_throttle::BoxError;

    use super::Options;

    pub(crate) type Connector = HttpsConnector<HttpConnector>;

    pub(super) fn connector(tcp: HttpConnector, options: &Options) -> Result<Connector, BoxError> {
        let mut roots = RootCertStore::empty();
        if options.upstream.is_https() {
            if let Some(missing) = missing_instruction() {
                return Err(format!(
                    "{}: TLS needs a processor with the instructions {missing}: expected an http upstream",
                    options.upstream
                )
                .into());
            }
            match &options.ca {
                Some(file) => add(&mut roots, file)
                    .map_err(|error| format!("--ca {}: {error}", file.display()))?,
                None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            }
        }
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        Ok(if options.http2 {
            builder.enable_http2().wrap_connector(tcp)
        } else {
            builder.enable_http1().wrap_connector(tcp)
        })
    }

    fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), BoxError> {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err("expected a PEM file with certificates".into());
        }
        Ok(())
    }

    /// What the cryptography takes for granted, and not every machine has: it would panic, or worse.
    #[cfg(target_arch = "x86_64")]
    fn missing_instruction() -> Option<&'static str> {
        macro_rules! missing {
            ($($name:tt)+) => {[$((!std::arch::is_x86_feature_detected!($name)).then_some($name)),+]};
        }
        let missing = missing!("aes" "pclmulqdq" "ssse3" "avx" "avx2" "bmi1" "bmi2" "adx");
        missing.into_iter().flatten().next()
    }

    #[cfg(target_arch = "aarch64")]
    fn missing_instruction() -> Option<&'static str> {
        macro_rules! missing {
            ($($name:tt)+) => {[$((!std::arch::is_aarch64_feature_detected!($name)).then_some($name)),+]};
        }
        let missing = missing!("neon" "aes" "pmull" "sha2");
        missing.into_iter().flatten().next()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Connector = HttpConnector;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn connector(tcp: HttpConnector, options: &Options) -> Result<Connector, BoxError> {
    let Options { upstream, ca, .. } = options;
    if upstream.is_https() || ca.is_some() {
        return Err(format!(
            "{upstream}: there is no TLS here for this kind of processor: expected an http upstream"
        )
        .into());
    }
    Ok(tcp)
}

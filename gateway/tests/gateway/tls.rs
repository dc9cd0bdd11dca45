//! An upstream behind TLS. The certificates are made for this: see `certificates/README.md`.

use std::{convert::Infallible, path::Path, sync::Arc};

use http::{Request, Response, StatusCode, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;
use tower_throttle::mock;

use crate::support::{Line, VERSIONS, client, full, post, send};

fn certificate(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/certificates");
    folder.join(name).to_str().unwrap().to_owned()
}

/// Answers with the version that it was asked in, and speaks whichever is asked for first.
fn serve() -> String {
    let provider = Arc::new(rustls_graviola::default_provider());
    let chain = CertificateDer::from_pem_file(certificate("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).unwrap();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = mock::bind().unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us hangs up.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(async |request: Request<Incoming>| {
                    let version = format!("{:?}", request.version());
                    Ok::<_, Infallible>(Response::new(full(version)))
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn an_upstream_with_a_certificate_that_is_trusted_is_spoken_to() {
    let upstream = serve();
    let ca = certificate("authority.pem");
    for version in VERSIONS {
        for (args, spoken) in [
            (&["--ca", ca.as_str()][..], "HTTP/1.1"),
            (&["--ca", &ca, "--http2"], "HTTP/2.0"),
        ] {
            let line = Line::start(&upstream, args);
            let answer = send(&client(version), post(&line.url("/a"))).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.body, spoken);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_nobody_vouches_for_is_a_bad_gateway() {
    let upstream = serve();
    let line = Line::start(&upstream, &["--no-retry"]);
    let answer = send(&client(Version::HTTP_11), post(&line.url("/a"))).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let error = &answer.json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("invalid peer certificate"), "{message}");
}

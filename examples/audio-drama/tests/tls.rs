//! The client speaks TLS, and only to those whom it trusts.

mod common;

use std::sync::Arc;

use audio_drama::{
    http_client::{HttpClient, client_trusting},
    limits::Limits,
    mocks::{self, Served},
    speech::{ElevenLabs, Error, Narrator, Speech, Subscription},
};
use common::setting;
use graviola::{
    hashing::Sha256,
    signing::ecdsa::{P256, SigningKey},
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Key {
    secret: SigningKey<P256>,
    public: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let secret = SigningKey::generate().unwrap();
        let mut spki = [0; 256];
        let spki = secret.to_spki_der(&mut spki).unwrap();
        // An uncompressed point is at the end.
        let public = spki[spki.len() - 65..].to_vec();
        Self { secret, public }
    }

    fn to_der(&self) -> PrivateKeyDer<'static> {
        let mut der = [0; 256];
        let der = self.secret.to_pkcs8_der(&mut der).unwrap();
        PrivatePkcs8KeyDer::from(der.to_vec()).into()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = [0; 128];
        let signed = self.secret.sign_asn1::<Sha256>(&[message], &mut signature);
        Ok(signed.map_err(|_| rcgen::Error::RemoteKeyError)?.to_vec())
    }
}

/// Serves a subscription over TLS, and a certificate of its own to trust.
fn serve() -> (Served, CertificateDer<'static>) {
    let key = Key::new();
    let mut names = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    names.serial_number = Some(1.into());
    let certificate = names.self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(rustls_graviola::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.to_der())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let served = Served::start(|listener| accept(listener, acceptor)).unwrap();
    (served, certificate)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that does not trust us hangs up.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(async |_: Request<Incoming>| {
                let body = r#"{"tier": "free", "character_count": 1, "character_limit": 2}"#;
                Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(body)))
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn subscription(client: HttpClient, served: &Served) -> Result<Subscription, Error> {
    let base = served.base().to_string().replace("http:", "https:");
    let elevenlabs = ElevenLabs::mock(base.parse().unwrap());
    let narrator = Narrator::mock(base.parse().unwrap());
    let limits = Limits::new(setting(3));
    let speech = Speech::new(elevenlabs, client, narrator, mocks::narrator(), limits);
    speech.subscription().await
}

#[tokio::test]
async fn a_provider_is_reached_over_tls_if_it_is_trusted() {
    let (served, certificate) = serve();
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate).unwrap();
    let client = client_trusting(trusted, true).unwrap();
    let subscription = subscription(client, &served).await.unwrap();
    assert_eq!(subscription.tier, "free");
}

#[tokio::test]
async fn nobody_else_is_trusted() {
    let (served, _) = serve();
    let client = client_trusting(RootCertStore::empty(), true).unwrap();
    let error = subscription(client, &served).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

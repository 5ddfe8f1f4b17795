//! TLS 1.3 to the one head whose certificate the launch order names.
//!
//! Invariant: no byte of ours leaves before the head has proved that it holds the pinned key. Names,
//! dates and authorities say nothing here. Deliberately absent: any way to switch that off.
use crate::identity::Identity;
use anyhow::{Context as _, Result, anyhow, bail};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version,
};

/// A head that does not answer by then is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two looks whether the other machine is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Dials the head.
#[derive(Clone)]
pub struct Dialer {
    connector: TlsConnector,
}

impl Dialer {
    /// `pin` is the SHA-256 of the head's certificate in hexadecimal.
    pub fn new(pin: &str, identity: &Identity) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let pin = parse_pin(pin)?;
        let verifier = Pinned { pin, provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
            .context("the node's own key cannot be used")?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection to `HOST:PORT`, with the head's key proved.
    pub async fn dial(&self, address: &str) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("pcluster-head").expect("a constant that is a name");
        let dial = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            keep_alive(&stream);
            self.connector.connect(name, stream).await
        };
        match tokio::time::timeout(CONNECT, dial).await {
            Ok(connected) => connected.map_err(|error| anyhow!("{}", crate::cage::plain(&error))),
            Err(_) => bail!("no answer within {} s", CONNECT.as_secs()),
        }
    }
}

/// A head whose machine vanished without a word is noticed, also by who only listens. Best effort:
/// without it such a connection lasts until something is written.
fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, KEEP_ALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, 3));
}

fn parse_pin(text: &str) -> Result<[u8; 32]> {
    // The same form as a blob's name: 64 hexadecimal digits.
    let hash: pcluster_model::BlobHash =
        text.parse().map_err(|_| anyhow!("head_key_sha256 is not 64 hexadecimal digits"))?;
    Ok(hash.0)
}

#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Sha256::digest(end_entity).as_slice() == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

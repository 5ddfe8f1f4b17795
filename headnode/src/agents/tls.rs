//! TLS for nodes: 1.3 only, a certificate of the head's own that nodes pin, and a client certificate
//! from every node.
//!
//! Invariant: a client's certificate proves possession of a key and nothing else; the key's hash is
//! the identity, whatever name or date the certificate bears.
use super::token::hex;
use pcluster_upkeep::files;
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};

/// The head's certificate with its key.
pub struct HeadKey {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// The head's certificate cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot keep the head's key: {0}")]
    Io(#[from] io::Error),
    #[error("cannot make the head's certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the head's key is of no use: {0}")]
    Use(#[from] rustls::Error),
}

impl HeadKey {
    /// Reads the key of this state directory, or makes it. Nodes pin it, so it is made once.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub fn load_or_make(folder: &Path) -> Result<Self, TlsError> {
        let (cert_file, key_file) =
            (folder.join(files::HEAD_CERTIFICATE), folder.join(files::HEAD_KEY));
        if !fs::exists(&cert_file)? {
            // The certificate comes last: a crash in between makes both anew.
            let key = KeyPair::generate()?;
            let params = CertificateParams::new(vec!["pcluster-head".to_owned()])?;
            let certificate = params.self_signed(&key)?;
            write_secret(&key_file, &key.serialize_der())?;
            write_secret(&cert_file, certificate.der())?;
        }
        let key = PrivatePkcs8KeyDer::from(fs::read(&key_file)?).into();
        Ok(Self { certificate: CertificateDer::from(fs::read(&cert_file)?), key })
    }

    /// What nodes pin: SHA-256 of the certificate, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        identity(&self.certificate)
    }

    /// The server's side of TLS.
    ///
    /// # Errors
    /// When the key does not fit the certificate.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(AnyKey { algorithms: provider.signature_verification_algorithms });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// SHA-256 of a certificate, in hexadecimal: the identity of its holder.
#[must_use]
pub fn identity(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate))
}

/// A file of mode 0600 that appears whole.
///
/// # Errors
/// When the disk refuses.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes any certificate whose key signed the handshake.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Fixes the one crypto library of the process.
pub fn install_crypto() {
    // A second call finds the first one's choice, which is the same.
    let _ = CryptoProvider::install_default(ring::default_provider());
}

//! The agent's own key and certificate, made once and stored before anybody is spoken to.
//!
//! Invariant: a crash at any point leaves the same key or none; the head never sees two keys of one
//! node. Both files can be read by the agent's user only.
use crate::node_dir::NodeDir;
use anyhow::{Context as _, Result};
use pcluster_keeper::{Durability, write_atomic};
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Key and certificate, and whether they are new.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
    pub is_new: bool,
}

/// Reads the key pair of this node, or makes it.
pub fn load(dir: &NodeDir, name: &str) -> Result<Identity> {
    let (key_path, certificate_path) = (dir.file("key.der"), dir.file("certificate.der"));
    if let (Ok(key), Ok(certificate)) = (fs::read(&key_path), fs::read(&certificate_path)) {
        return Ok(identity(key, certificate, false));
    }
    let pair = KeyPair::generate().context("cannot make a key")?;
    let mut params = CertificateParams::new(vec!["pcluster-agent".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&pair).context("cannot make a certificate")?;
    let (key, certificate) = (pair.serialize_der(), certificate.der().to_vec());
    write_atomic(&key_path, &key, Durability::Durable)?;
    write_atomic(&certificate_path, &certificate, Durability::Durable)?;
    Ok(identity(key, certificate, true))
}

fn identity(key: Vec<u8>, certificate: Vec<u8>, is_new: bool) -> Identity {
    Identity { certificate: certificate.into(), key: PrivatePkcs8KeyDer::from(key).into(), is_new }
}

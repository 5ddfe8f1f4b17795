//! The port that nodes dial: whether this head answers at every address that nodes are told.
//!
//! Invariant: nothing is said on the connection but TLS's own greeting; the head's certificate is known
//! by its hash, as nodes know it.
use crate::{PATIENCE, plain};
use pcluster_api::{Finding, Topic};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
};

const TOPIC: Topic = Topic::Network;

/// An address that nodes are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// `HOST:PORT`, as this machine can dial it.
    pub address: String,
    /// As nodes are told it, where that is another one.
    pub told: String,
    /// The pools whose nodes dial it.
    pub pools: Vec<String>,
    /// Their nodes are on other machines.
    pub from_elsewhere: bool,
}

/// Every address, and what listens there. `certificate` is the head's file; `listen` what it is bound
/// to, where that is fixed; `running` says that the head answers on its socket.
#[must_use]
pub fn doors(
    dialled: &[Dialled],
    certificate: &Path,
    listen: Option<SocketAddr>,
    running: bool,
) -> Vec<Finding> {
    if !running {
        return listen.map(free).into_iter().collect();
    }
    let Ok(expected) = std::fs::read(certificate).map(Sha256::digest) else {
        return vec![
            Finding::note(TOPIC, "the port of nodes is not tried")
                .why("only the head's own user may read its certificate"),
        ];
    };
    dialled.iter().map(|one| door(one, &expected)).collect()
}

/// A head that does not run: its port must be free.
fn free(listen: SocketAddr) -> Finding {
    if listen.port() == 0 {
        return Finding::ok(TOPIC, format!("the head takes any free port of {}", listen.ip()));
    }
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(TOPIC, format!("{listen} is free for the head")),
        Err(error) => Finding::attention(
            TOPIC,
            format!("the head cannot listen on {listen}: {}", plain(&error)),
        )
        .why("nodes dial it")
        .hint(format!("ss -ltnp 'sport = :{}'    shows who has it", listen.port()))
        .hint("[head] listen = \"ADDRESS:PORT\"    names another one"),
    }
}

fn door(one: &Dialled, expected: &[u8]) -> Finding {
    let Dialled { address, told, pools, from_elsewhere } = one;
    let pools = pools.join(", ");
    let wrong = |what: String| {
        Finding::attention(TOPIC, what)
            .why(format!("nodes of pool {pools} dial it, and would never register"))
            .hint("[head] address = \"NAME-OR-ADDRESS\"    is what nodes dial")
            .hint("[head] listen = \"0.0.0.0:7443\"    takes connections of other machines")
    };
    let resolved: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(_) => return wrong(format!("{address} has no address: its name is not known")),
    };
    let only_here = resolved.iter().all(|address| address.ip().is_loopback());
    if *from_elsewhere && only_here {
        return wrong(format!(
            "{address} is this machine alone, and nodes of pool {pools} are elsewhere"
        ));
    }
    let shown = if told == address { String::new() } else { format!(", told to nodes as {told}") };
    match greet(&resolved, expected) {
        Ok(()) => {
            Finding::ok(TOPIC, format!("{address} answers for the nodes of pool {pools}{shown}"))
        }
        Err(Trouble::Other) => wrong(format!("something else than this head answers at {address}")),
        Err(Trouble::None(why)) if resolved.iter().any(|address| is_ours(address.ip())) => {
            wrong(format!("nothing answers at {address}{shown}: {why}"))
        }
        Err(Trouble::None(why)) => {
            Finding::note(TOPIC, format!("{address} cannot be tried from here: {why}"))
                .why("it is an address of another machine, as behind a gateway")
                .hint(format!("nc -vz {}    on a node", address.replace(':', " ")))
        }
    }
}

/// An address of this machine can be bound.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

enum Trouble {
    /// Somebody with another certificate, or no TLS.
    Other,
    None(String),
}

/// The greeting of TLS, up to the certificate.
fn greet(addresses: &[SocketAddr], expected: &[u8]) -> Result<(), Trouble> {
    let mut trouble = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return handshake(stream, expected),
            Err(error) => trouble = plain(&error),
        }
    }
    Err(Trouble::None(trouble))
}

fn handshake(mut stream: TcpStream, expected: &[u8]) -> Result<(), Trouble> {
    let none = |error: io::Error| Trouble::None(plain(&error));
    stream.set_read_timeout(Some(PATIENCE)).map_err(none)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(none)?;
    let shown = Arc::new(Shown::default());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| Trouble::Other)?
        .dangerous()
        .with_custom_certificate_verifier(shown.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("pcluster-head").map_err(|_| Trouble::Other)?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|_| Trouble::Other)?;
    // The head wants a certificate that we have none of: what counts is whose it showed before.
    while tls.is_handshaking() && shown.seen().is_none() {
        if tls.complete_io(&mut stream).is_err() {
            break;
        }
    }
    let _ = stream.flush();
    match shown.seen() {
        Some(seen) if seen == expected => Ok(()),
        _ => Err(Trouble::Other),
    }
}

/// Remembers the hash of the certificate that was shown, once its key has signed.
#[derive(Debug, Default)]
struct Shown(Mutex<Option<Vec<u8>>>);

impl Shown {
    fn seen(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let proved =
            rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)?;
        let hash = Sha256::digest(certificate).to_vec();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        Ok(proved)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_api::Level;

    fn dialled(address: String, from_elsewhere: bool) -> Dialled {
        Dialled { told: address.clone(), address, pools: vec!["compute".into()], from_elsewhere }
    }

    #[test]
    fn nothing_at_an_address_of_ours_is_told_with_what_nodes_would_do() {
        let port = {
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            taken.local_addr().unwrap().port()
        };
        let found = door(&dialled(format!("127.0.0.1:{port}"), false), b"x");
        assert_eq!(found.level, Level::Attention);
        assert!(found.what.starts_with("nothing answers at 127.0.0.1:"), "{found:?}");
        assert!(found.why.contains("never register"), "{found:?}");
    }

    #[test]
    fn loopback_is_no_address_for_nodes_elsewhere_and_names_must_resolve() {
        let found = door(&dialled("127.0.0.1:7443".into(), true), b"x");
        assert!(found.what.contains("is this machine alone"), "{found:?}");
        let found = door(&dialled("no.such.host.invalid:7443".into(), true), b"x");
        assert!(found.what.contains("has no address"), "{found:?}");
    }

    #[test]
    fn somebody_else_on_the_port_is_not_the_head() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let speaking = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            stream.write_all(b"SSH-2.0-other\r\n").unwrap();
        });
        let found = door(&dialled(address.to_string(), false), b"x");
        speaking.join().unwrap();
        assert!(found.what.starts_with("something else than this head"), "{found:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_told_before_the_head_starts() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(free(address).level, Level::Attention);
        drop(taken);
        assert_eq!(free(address).level, Level::Ok);
    }
}

//! HTTP/1.1 to EC2, to its neighbours and to the machine's own metadata.
//!
//! Invariant: a request ends within its time, a reply is read up to its bound; what is behind `https` has
//! proved its name to the roots that browsers trust, or to those of `AWS_CA_BUNDLE`. Deliberately absent:
//! proxies and redirects.
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqsign_core::HttpSend;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A machine that does not answer by then is not there; the metadata of a machine that is not in EC2 is
/// asked for, too.
const CONNECT: Duration = Duration::from_secs(3);
/// A list of 1000 machines has about 6 MB.
const LARGEST: usize = 32 << 20;
const IDLE: Duration = Duration::from_secs(50);
/// What credentials wait for.
const CREDENTIALS: Duration = Duration::from_secs(10);

/// A client with its connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// # Errors
    /// Why the roots of `AWS_CA_BUNDLE` cannot be read.
    pub fn new(bundle: Option<&str>) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = bundle {
            let bad = |why: &dyn std::fmt::Display| format!("AWS_CA_BUNDLE={path}: {why}");
            let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| bad(&error))?;
                roots.add(certificate).map_err(|error| bad(&error))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client })
    }

    /// One request; the words of a failure are fit for people.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Response<Bytes>, String> {
        let place = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let exchange = async {
            let answer = self.client.request(request.map(Full::new)).await;
            let (parts, body) = answer.map_err(|error| said(&error))?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await;
            let body = body.map_err(|error| format!("its answer broke off: {error}"))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(answer) => answer.map_err(|why: String| format!("{place}: {why}")),
            Err(_) => Err(format!("{place}: no answer within {} s", within.as_secs())),
        }
    }
}

/// The last cause is the one that people know.
fn said(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

impl HttpSend for Http {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        let answer = self.send(request, CREDENTIALS).await;
        answer.map_err(|why| reqsign_core::Error::unexpected(why).set_retryable(true))
    }
}

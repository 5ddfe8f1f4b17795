//! One signed call.
use crate::action::Action;
use crate::bucket::Buckets;
use crate::credentials;
use crate::failure::Failure;
use crate::http::Http;
use crate::params::Params;
use crate::xml::Element;
use hyper::Request;
use hyper::body::Bytes;
use reqsign_aws_v4::Credential;
use reqsign_core::{Env, OsEnv, Signer, StaticEnv};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// RunInstances of hundreds of machines takes the longest.
const WITHIN: Duration = Duration::from_secs(60);
/// A bucket that fills within this is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pages of one list: at 1000 machines each.
const MOST_PAGES: usize = 200;

/// Where calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub region: String,
    /// Instead of the environment of this process, where its settings and credentials are looked for.
    pub environment: Option<BTreeMap<String, String>>,
}

/// A client of one region. Cheap to clone; clones share connections, credentials and buckets.
#[derive(Debug, Clone)]
pub struct Client {
    region: String,
    endpoint: String,
    http: Http,
    signer: Signer<Credential>,
    buckets: Arc<Mutex<Buckets>>,
    started: Instant,
}

impl Client {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Why the environment's own settings cannot be used.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let Settings { region, environment } = settings;
        match environment {
            Some(pairs) => {
                let envs = pairs.into_iter().collect();
                Self::with_env(region, StaticEnv { home_dir: None, envs })
            }
            None => Self::with_env(region, OsEnv),
        }
    }

    pub(crate) fn with_env(region: String, env: impl Env) -> Result<Self, String> {
        let set = |name| env.var(name).filter(|value| !value.is_empty());
        let endpoint = set("AWS_ENDPOINT_URL_EC2")
            .or_else(|| set("AWS_ENDPOINT_URL"))
            .unwrap_or_else(|| format!("https://ec2.{}", domain(&region)));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let right = endpoint.parse::<hyper::Uri>().is_ok_and(|uri| {
            uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if !right {
            return Err(format!("{endpoint:?} is not an address of EC2: http(s)://HOST is wanted"));
        }
        let http = Http::new(set("AWS_CA_BUNDLE").as_deref())?;
        let signer = credentials::signer(&http, env, &region);
        let (buckets, started) = (Arc::default(), Instant::now());
        Ok(Self { region, endpoint, http, signer, buckets, started })
    }

    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where calls go.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Calls once; the root of the reply.
    ///
    /// # Errors
    /// As EC2 said it, or why nobody knows.
    pub async fn call(&self, action: Action, params: &Params) -> Result<Element, Failure> {
        self.take(action).await?;
        let request = self.request(&params.body(action.name(), VERSION)).await?;
        let answer = self.http.send(request, WITHIN).await.map_err(Failure::Lost)?;
        let status = answer.status();
        if status.is_success() {
            self.with_buckets(|buckets, now| buckets.answered(action, now));
            return Element::parse(answer.body()).map_err(|why| {
                Failure::Lost(format!("the answer of EC2 is not understood: {why}"))
            });
        }
        let failure = Failure::of_reply(status.as_u16(), answer.body());
        self.with_buckets(|buckets, now| {
            if failure.is_throttling() {
                buckets.refused(action, now);
            } else {
                buckets.answered(action, now);
            }
        });
        Err(failure)
    }

    /// All pages of a list: the replies in order.
    ///
    /// # Errors
    /// As `call`; a list with a page missing is none.
    pub async fn pages(&self, action: Action, params: &Params) -> Result<Vec<Element>, Failure> {
        let mut pages = Vec::new();
        let mut next: Option<String> = None;
        while pages.len() < MOST_PAGES {
            let params = match &next {
                Some(token) => params.clone().with("NextToken", token),
                None => params.clone(),
            };
            let page = self.call(action, &params).await?;
            let token = page.text_at("nextToken").filter(|token| !token.is_empty());
            let token = token.map(str::to_owned);
            pages.push(page);
            match token {
                Some(token) if next.as_ref() != Some(&token) => next = Some(token),
                Some(_) => return Err(Failure::Lost("the list of EC2 goes round".into())),
                None => return Ok(pages),
            }
        }
        Err(Failure::Lost(format!("the list of EC2 has more than {MOST_PAGES} pages")))
    }

    /// How long to wait after the last answer of this action, in milliseconds.
    #[must_use]
    pub fn rest_ms(&self, action: Action) -> u64 {
        self.with_buckets(|buckets, now| buckets.rest(action, now))
    }

    async fn take(&self, action: Action) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Err(wait_ms) = self.with_buckets(|buckets, now| buckets.take(action, now)) else {
                return Ok(());
            };
            let wait = Duration::from_millis(wait_ms);
            if Instant::now() + wait > until {
                return Err(Failure::TooOften { action: action.name(), wait_ms });
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn with_buckets<T>(&self, act: impl FnOnce(&mut Buckets, u64) -> T) -> T {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        act(&mut self.buckets.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    async fn request(&self, body: &str) -> Result<Request<Bytes>, Failure> {
        let request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", FORM)
            .header("x-amz-content-sha256", sha256(body.as_bytes()))
            .header("user-agent", concat!("pcluster/", env!("CARGO_PKG_VERSION")))
            .body(());
        let request = request.map_err(|error| Failure::Lost(error.to_string()))?;
        let (mut parts, ()) = request.into_parts();
        let signed = self.signer.sign(&mut parts, None).await;
        signed.map_err(|error| Failure::NoCredentials(error.to_string()))?;
        Ok(Request::from_parts(parts, Bytes::from(body.to_owned())))
    }
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What names of AWS in a region end with; China has a domain of its own.
#[must_use]
pub fn domain(region: &str) -> String {
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("{region}.amazonaws.com{end}")
}

#[cfg(test)]
pub(crate) mod tests;

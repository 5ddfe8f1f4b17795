//! The address that this machine has in the Internet, as AWS sees it.
use crate::http::Http;
use hyper::Request;
use hyper::body::Bytes;
use std::net::IpAddr;
use std::time::Duration;

/// AWS's own service: it answers a request with the address that it comes from.
const CHECK: &str = "https://checkip.amazonaws.com/";
/// Another place that answers so, as AWS's variables name other places.
const VARIABLE: &str = "AWS_ENDPOINT_URL_CHECKIP";
const WITHIN: Duration = Duration::from_secs(10);

/// Asks AWS where this machine's requests come from.
///
/// # Errors
/// Why nobody says it, for people.
pub async fn own_address() -> Result<IpAddr, String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let place = set(VARIABLE).unwrap_or_else(|| CHECK.into());
    let http = Http::new(set("AWS_CA_BUNDLE").as_deref())?;
    let request = Request::get(&place).body(Bytes::new()).map_err(|error| error.to_string())?;
    let answer = http.send(request, WITHIN).await?;
    read(&String::from_utf8_lossy(answer.body()))
        .ok_or_else(|| format!("{place}: its answer is no address"))
}

fn read(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_word() {
        assert_eq!(read("203.0.113.7\n"), Some(IpAddr::from([203, 0, 113, 7])));
        assert_eq!(read("<html>"), None);
    }
}

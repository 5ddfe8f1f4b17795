//! Join tokens: an HMAC of the launch id under the cluster's secret, so that nobody stores them.
use hmac::{Hmac, Mac};
use pcluster_model::{ClusterId, LaunchId};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The cluster's secret; never printed, logged or sent.
#[derive(Clone)]
pub struct ClusterSecret(pub [u8; 32]);

impl ClusterSecret {
    /// The token of every machine of this launch, in hexadecimal.
    #[must_use]
    pub fn token(&self, cluster: &ClusterId, launch: LaunchId) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("an HMAC takes a key of any length");
        mac.update(b"pcluster join 1\0");
        mac.update(cluster.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(&launch.0.to_be_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// True when `given` is the token of this launch. Takes the same time for every wrong text of
    /// the right length.
    #[must_use]
    pub fn accepts(&self, cluster: &ClusterId, launch: LaunchId, given: &str) -> bool {
        self.token(cluster, launch).as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_launch_only() {
        let secret = ClusterSecret([7; 32]);
        let cluster = ClusterId::from("00ff");
        let token = secret.token(&cluster, LaunchId(3));
        assert!(secret.accepts(&cluster, LaunchId(3), &token));
        assert!(!secret.accepts(&cluster, LaunchId(4), &token));
        assert!(!secret.accepts(&ClusterId::from("00fe"), LaunchId(3), &token));
        assert!(!ClusterSecret([8; 32]).accepts(&cluster, LaunchId(3), &token));
        assert!(!secret.accepts(&cluster, LaunchId(3), ""));
    }
}

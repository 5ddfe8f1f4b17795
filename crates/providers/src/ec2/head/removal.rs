//! The end of a head's machine, and of all that its cluster has in the account.
//!
//! Invariant: machines end before what they are in, the head's after those of its nodes, which it might replace; only
//! what has the cluster's id is touched.
use super::found::HeadThere;
use super::{Ec2Head, Patience, Say, too_long};
use crate::ec2::account;
use crate::ec2::calls;
use crate::provider::ProviderError;
use pcluster_model::{MicroUsd, STORAGE_GB_MONTH};
use std::time::Duration;

const ENDS_WITHIN: Duration = Duration::from_secs(600);
/// How often what comes up while groups are removed is ended, too.
const ROUNDS: usize = 3;

impl Ec2Head {
    /// Ends every machine of the cluster, the head's last; removes its groups; keeps the volume of the head's state, or
    /// deletes it. One line for each thing: what went, and what stays and why. Called again, it goes on from where it was.
    ///
    /// # Errors
    /// As the calls, and when machines do not end; nothing that was ended comes back.
    pub async fn remove(
        &self,
        delete_storage: bool,
        say: Say<'_>,
    ) -> Result<Vec<String>, ProviderError> {
        let mut said = self.nodes_end(say).await?;
        let heads = |there: &HeadThere| there.heads.iter().map(ToString::to_string).collect();
        said.extend(self.ended_all("the head", heads, say).await?);
        let owner = self.owner();
        let mut groups = Vec::new();
        for _ in 0..ROUNDS {
            // What the head launched in its last moment may be listed only now.
            said.extend(self.nodes_end(say).await?);
            groups = account::drop_all_placement_groups(&self.api, &owner).await?;
            for group in account::security_groups(&self.api, &owner).await? {
                groups.push(account::drop_security_group(&self.api, &group).await);
            }
            if self.look().await?.machines.is_empty() {
                break;
            }
        }
        said.extend(groups);
        for volume in self.volumes(&owner.only()).await? {
            said.push(if delete_storage {
                say(&format!("deleting volume {}", volume.id));
                self.drop_volume(&volume.id).await?
            } else {
                kept(&volume.id, volume.gib)
            });
        }
        Ok(said)
    }

    async fn nodes_end(&self, say: Say<'_>) -> Result<Vec<String>, ProviderError> {
        let ids =
            |there: &HeadThere| there.machines.iter().map(|one| one.instance.to_string()).collect();
        self.ended_all("a node", ids, say).await
    }

    /// Ends machines until none is listed.
    async fn ended_all(
        &self,
        what: &str,
        ids: impl Fn(&HeadThere) -> Vec<String>,
        say: Say<'_>,
    ) -> Result<Vec<String>, ProviderError> {
        let mut asked: Vec<String> = Vec::new();
        let mut patience = Patience::of(ENDS_WITHIN);
        loop {
            let left = ids(&self.look().await?);
            let new: Vec<String> = left.iter().filter(|id| !asked.contains(id)).cloned().collect();
            if !new.is_empty() {
                say(&format!("ending {}", new.join(", ")));
                calls::end_all(&self.api, new.clone()).await?;
                asked.extend(new);
            }
            if left.is_empty() {
                return Ok(asked
                    .iter()
                    .map(|id| format!("instance {id} of {what} ended"))
                    .collect());
            }
            if !patience.is_left().await {
                return Err(too_long(&format!("{} has not ended", left.join(", ")), ENDS_WITHIN));
            }
        }
    }
}

/// What a volume costs that stays.
fn kept(id: &str, gib: u64) -> String {
    let month = MicroUsd(i64::try_from(gib).unwrap_or(i64::MAX).saturating_mul(STORAGE_GB_MONTH.0));
    format!("volume {id} stays: {gib} GB, about {month} a month")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_says_what_it_costs() {
        assert_eq!(kept("vol-1", 100), "volume vol-1 stays: 100 GB, about $8.00 a month");
    }
}

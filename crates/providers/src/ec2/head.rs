//! The head's own machine in EC2: one instance, one volume for its state, two security groups. For who runs `up` and
//! `down`, not for a running head.
//!
//! Invariant: everything has the cluster's id from birth and is looked for before it is made; what is made has a client
//! token that follows from what the account holds, so a call that was made again, after a crash at any point, is the
//! same thing. Deliberately absent: roles and users, networks, public addresses (a subnet gives them or does not), and
//! all that is done on the machine.
mod disk;
mod door;
mod found;
mod machine;
mod removal;
mod wish;

use super::account::{Groups, Owner};
use super::api::Api;
use super::calls;
use super::machines::{HEAD, NAME_TAG, ROLE_TAG, listed};
use super::types::Known;
use crate::provider::{ErrorClass, Listed, Phase, ProviderError};
pub use found::{HeadInstance, HeadThere, HeadVolume, Namesake};
use pcluster_ec2::{Action, Params};
use pcluster_model::{InstanceRef, Timestamp};
use std::time::{Duration, Instant};
pub use wish::HeadWish;

/// Lists of EC2 are behind by so much at most.
const LAG: Duration = Duration::from_secs(60);
/// A volume that was in use is free, and a new one there, within this.
const DISK_WITHIN: Duration = Duration::from_secs(300);

/// Where what is being done is said.
pub(super) type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// The head's machine as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadMachine {
    pub instance: InstanceRef,
    /// Where SSH reaches it: its public address if it has one, else its private one.
    pub address: String,
    /// `ssh-ed25519 AAAA…`, as the machine itself said it on its console. `None` where it has been running for long
    /// and its console does not hold it any more: then the key that was pinned at first is the right one.
    pub host_key: Option<String>,
    /// Of the state, attached: `vol-…`.
    pub volume: String,
    pub zone: String,
    /// From when on EC2 bills it.
    pub launched_at: Timestamp,
}

/// Makes, finds and removes it.
#[derive(Debug)]
pub struct Ec2Head {
    wish: HeadWish,
    api: Api,
    known: Known,
    lag: Duration,
}

impl Ec2Head {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(wish: HeadWish) -> Self {
        let api = Api::of_place(&wish.region, wish.environment.clone());
        Self { wish, api, known: Known::default(), lag: LAG }
    }

    /// In a cloud whose lists are at most so much behind; EC2's are a minute at most.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    fn owner(&self) -> Owner<'_> {
        Owner { cluster: &self.wish.cluster, cluster_name: &self.wish.cluster_name }
    }

    /// What there is of this head, of its cluster's machines, and of other clusters with the same name. Changes
    /// nothing.
    ///
    /// # Errors
    /// As the calls, most of all `Denied`; a list that is not whole is none.
    pub async fn look(&self) -> Result<HeadThere, ProviderError> {
        let pages = calls::instances(&self.api, &self.owner().only()).await?;
        let all = || pages.iter().flat_map(super::machines::instances);
        let machines: Vec<Listed> =
            all().filter_map(listed).filter(|one| one.phase != Phase::Ended).collect();
        let heads = all().filter_map(found::instance).collect();
        let volumes = self.volumes(&self.owner().only()).await?;
        Ok(found::there(heads, volumes, machines, self.namesakes().await?))
    }

    async fn volumes(&self, params: &Params) -> Result<Vec<HeadVolume>, ProviderError> {
        let params = params.clone().filter(&format!("tag:{ROLE_TAG}"), [HEAD]);
        let pages = self.api.pages(Action::DescribeVolumes, &params).await?;
        Ok(pages
            .iter()
            .flat_map(|page| page.items("volumeSet"))
            .filter_map(found::volume)
            .collect())
    }

    async fn namesakes(&self) -> Result<Vec<Namesake>, ProviderError> {
        let params = Params::new()
            .filter(&format!("tag:{NAME_TAG}"), [&self.wish.cluster_name])
            .filter(&format!("tag:{ROLE_TAG}"), [HEAD]);
        let machines = calls::instances(&self.api, &params).await?;
        let volumes = self.api.pages(Action::DescribeVolumes, &params).await?;
        let things = machines.iter().flat_map(super::machines::instances);
        let things = things.chain(volumes.iter().flat_map(|page| page.items("volumeSet")));
        Ok(found::namesakes(things, &self.wish.cluster))
    }

    /// Makes what is missing, adopts what is there, and waits until the machine runs, has its volume, and its host
    /// key is known. Made again after a crash at any point, or twice at once, it gives the same machine.
    ///
    /// # Errors
    /// What EC2 refuses, with what to do about it; whatever was made until then is adopted by the next call and
    /// ended by `remove`.
    pub async fn place(&self, say: Say<'_>) -> Result<HeadMachine, ProviderError> {
        let networks = self.wish.check()?;
        let there = self.look().await?;
        for words in there.oddities(&self.wish) {
            say(&words);
        }
        let subnets = self.subnets(&there).await?;
        let vpc = subnets.first().map_or("", |subnet| subnet.facts.vpc.as_str());
        let nodes = Groups::default().of(&self.api, &self.owner(), vpc).await?;
        let door = door::open(&self.api, &self.owner(), vpc, &networks, say).await?;
        let groups = machine::InGroups { nodes, door };
        let machine = match there.instance {
            Some(machine) => self.adopted(machine, say).await?,
            None => self.launched(&subnets, &groups, there.volume.as_ref(), say).await?,
        };
        let volume = match there.volume {
            Some(volume) if volume.zone != machine.zone => return Err(apart(&volume, &machine)),
            Some(volume) => volume,
            None => self.made_volume(&groups.door, &machine.zone, say).await?,
        };
        self.attached(&volume, &machine, say).await?;
        let host_key = self.host_key(&machine, say).await?;
        let HeadInstance { instance, address, zone, launched_at, .. } = machine;
        Ok(HeadMachine { instance, address, host_key, volume: volume.id, zone, launched_at })
    }
}

fn apart(volume: &HeadVolume, machine: &HeadInstance) -> ProviderError {
    let (id, zone) = (&volume.id, &volume.zone);
    let words = format!(
        "volume {id} of the head's state lies in {zone}, and its machine {} runs in {}: end the machine \
         (`pcluster down`), then `pcluster up`",
        machine.instance, machine.zone
    );
    ProviderError::new(ErrorClass::BadConfig, words)
}

/// Asks again, ever more slowly, until the time is over.
#[derive(Debug)]
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn of(time: Duration) -> Self {
        Self { until: Instant::now() + time, pause: Duration::from_millis(300) }
    }

    /// False when there is no time left.
    async fn is_left(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(Duration::from_secs(5));
        true
    }
}

/// It took too long; the next call goes on from here.
fn too_long(what: &str, within: Duration) -> ProviderError {
    let words = format!("{what} after {} s; the same command goes on from here", within.as_secs());
    ProviderError::new(ErrorClass::Unknown, words)
}

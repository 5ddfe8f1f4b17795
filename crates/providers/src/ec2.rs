//! Provider `ec2`: instances of Amazon's EC2, by its Query API.
//!
//! Invariant: the launch id is EC2's client token and stands in every tag, so a launch that was made again or
//! forgotten is the same machines; everything that is made has the cluster's id and goes at `down`. A launch
//! that was ended is not made by this head any more; one that an earlier head had under way comes up with the
//! cluster's tag, is in no plan, and the sweep ends it. The head's own machine is no node and in no list of it
//! (`head` makes and removes that one). Deliberately absent: retries and choices (core).
mod account;
mod api;
mod calls;
mod checkup;
mod classes;
mod head;
mod launch;
mod machines;
mod prices;
mod rights;
mod scratch;
mod standing;
#[cfg(test)]
mod tests;
mod types;
mod user_data;

use crate::checkup::Asked;
use crate::provider::{
    ErrorClass, LaunchAnswer, LaunchImage, LaunchOrder, Launched, Listed, Offering, Phase,
    Provider, ProviderError, Standing, Target, now,
};
use account::{Groups, Owner};
use api::Api;
use async_trait::async_trait;
pub use head::{Ec2Head, HeadInstance, HeadMachine, HeadThere, HeadVolume, HeadWish, Namesake};
use launch::Place;
use machines::{CLUSTER_TAG, Ends, HEAD, LAUNCH_TAG, ROLE_TAG, instances, is_id, listed};
use pcluster_api::Finding;
use pcluster_ec2::{Action, Params};
pub use pcluster_ec2::{domain, own_address};
use pcluster_model::config::{Ec2Pool, ProviderKind};
use pcluster_model::{ClusterId, InstanceRef, LaunchId, Price, Shape};
pub use rights::{Right, place_policy, policy};
use scratch::Scratch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use types::Known;

/// A machine of a launch that was made before may not be listed yet.
const ADOPT_TRIES: u32 = 5;
const ADOPT_PAUSE: Duration = Duration::from_secs(2);
/// Launches that were ended, of which the newest are remembered.
const ENDED_MOST: usize = 10_000;
/// A placement group may be in use before its machines are listed.
const GROUP_GRACE_MS: i64 = 300_000;

/// Machines of a pool and where they may be.
#[derive(Debug, Clone)]
pub struct PoolPlaces {
    pub shapes: Vec<Shape>,
    pub subnets: Vec<String>,
    pub image: LaunchImage,
    pub options: Ec2Pool,
}

/// What the head's own machine and storage cost an hour, as far as anybody knows.
#[derive(Debug, Clone, Default)]
pub struct StandingPrices {
    /// By type, on demand.
    pub types: BTreeMap<String, Price>,
    /// Of so many bytes of gp3.
    pub gp3: Option<fn(u64) -> Price>,
}

/// What it works with.
#[derive(Debug, Clone)]
pub struct Ec2Settings {
    pub region: String,
    /// Instead of the environment of this process.
    pub environment: Option<BTreeMap<String, String>>,
    pub cluster: ClusterId,
    pub cluster_name: String,
    /// Pools that use it.
    pub pools: Vec<PoolPlaces>,
    pub standing: StandingPrices,
    /// The head is placed from here: what is looked at is whether that is allowed, with this instance profile.
    pub placing: Option<String>,
}

/// The provider.
#[derive(Debug)]
pub struct Ec2Provider {
    settings: Ec2Settings,
    api: Api,
    known: Known,
    groups: Groups,
    ends: Ends,
    head_ends: standing::Ends,
    ended: Mutex<BTreeSet<LaunchId>>,
    /// Launches with a placement group, and since when.
    placed: Mutex<BTreeMap<LaunchId, i64>>,
}

impl Ec2Provider {
    #[must_use]
    pub fn new(settings: Ec2Settings) -> Self {
        let api = Api::new(&settings.region, settings.environment.clone());
        Self {
            settings,
            api,
            known: Known::default(),
            groups: Groups::default(),
            ends: Ends::default(),
            head_ends: standing::Ends::default(),
            ended: Mutex::default(),
            placed: Mutex::default(),
        }
    }

    /// Every right that a head needs, or whoever places it, tried without doing anything.
    pub async fn rights(&self) -> Vec<Right> {
        let placing = self.settings.placing.as_deref();
        let settings = &self.settings;
        let own = placing.map(|_| Api::of_place(&settings.region, settings.environment.clone()));
        let api = own.as_ref().unwrap_or(&self.api);
        let Some(order) = self.sample() else { return rights::trial(api, None, placing).await };
        let image = self.known.image(&self.api, &order.image, &order.shape).await;
        let place = image.map(|image| Place {
            image: image.id,
            root_device: image.root_device,
            root_gib: image.root_gib,
            group: String::new(),
            placement_group: None,
            facts: None,
        });
        match place {
            Ok(place) => rights::trial(api, Some((&order, &place)), placing).await,
            Err(_) => rights::trial(api, None, placing).await,
        }
    }

    /// A launch as the first pool would have it.
    fn sample(&self) -> Option<LaunchOrder> {
        let pool = self.settings.pools.first()?;
        Some(LaunchOrder {
            cluster: self.settings.cluster.clone(),
            cluster_name: self.settings.cluster_name.clone(),
            launch: LaunchId(0),
            count: 1,
            shape: pool.shapes.first()?.clone(),
            image: pool.image.clone(),
            spot: false,
            subnet: pool.subnets.first().cloned().unwrap_or_default(),
            names: vec!["trial-0".into()],
            joins: Vec::new(),
            tags: [(CLUSTER_TAG.to_owned(), self.settings.cluster.to_string())].into(),
            ec2: Ec2Pool { efa: false, ..pool.options.clone() },
        })
    }

    fn owner(&self) -> Owner<'_> {
        Owner { cluster: &self.settings.cluster, cluster_name: &self.settings.cluster_name }
    }

    fn only(&self) -> Params {
        Params::new().filter(&format!("tag:{CLUSTER_TAG}"), [self.settings.cluster.to_string()])
    }

    fn ended(&self) -> MutexGuard<'_, BTreeSet<LaunchId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_end(&self, launch: LaunchId) {
        let mut ended = self.ended();
        ended.insert(launch);
        if ended.len() > ENDED_MOST {
            ended.pop_first();
        }
    }

    fn placed(&self) -> MutexGuard<'_, BTreeMap<LaunchId, i64>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the order needs that is not in it.
    async fn place(&self, order: &LaunchOrder) -> Result<Place, ProviderError> {
        let image = self.known.image(&self.api, &order.image, &order.shape).await?;
        let vpc = match order.subnet.as_str() {
            "" => String::new(),
            subnet => self.known.subnet(&self.api, subnet).await?.vpc,
        };
        let group = self.groups.of(&self.api, &self.owner(), &vpc).await?;
        let options = &order.ec2;
        let facts = if options.efa || !options.smt || order.shape.total.tmp_bytes > 0 {
            Some(self.known.type_of(&self.api, &order.shape.name).await?)
        } else {
            None
        };
        let placement_group = if options.together && order.count > 1 {
            self.placed().insert(order.launch, now().0);
            Some(account::placement_group(&self.api, &self.owner(), order.launch).await?)
        } else {
            None
        };
        Ok(Place {
            image: image.id,
            root_device: image.root_device,
            root_gib: image.root_gib,
            group,
            placement_group,
            facts,
        })
    }

    /// Its token has been used with other words (another version of the head, another image of the day): what
    /// it made then has its tags.
    async fn adopt(
        &self,
        order: &LaunchOrder,
        why: ProviderError,
    ) -> Result<Vec<LaunchAnswer>, ProviderError> {
        for turn in 0..ADOPT_TRIES {
            if turn > 0 {
                tokio::time::sleep(ADOPT_PAUSE).await;
            }
            let found = self.of_launch(order.launch).await?;
            if !found.is_empty() {
                return Ok(answers(order, &found));
            }
        }
        Err(why)
    }

    async fn of_launch(&self, launch: LaunchId) -> Result<Vec<Listed>, ProviderError> {
        let params = self.only().filter(&format!("tag:{LAUNCH_TAG}"), [launch.to_string()]);
        self.described(&params).await
    }

    async fn described(&self, params: &Params) -> Result<Vec<Listed>, ProviderError> {
        let pages = calls::instances(&self.api, params).await?;
        Ok(pages.iter().flat_map(instances).filter_map(listed).collect())
    }

    /// Removes placement groups of launches whose machines are all over. Best effort: `down` has the rest.
    async fn drop_groups(&self, list: &[Listed]) {
        let old = now().0 - GROUP_GRACE_MS;
        let lives = |launch: LaunchId| {
            list.iter().any(|one| one.launch == launch && one.phase != Phase::Ended)
        };
        let over: Vec<LaunchId> = {
            let placed = self.placed();
            placed
                .iter()
                .filter(|(launch, at)| **at < old && !lives(**launch))
                .map(|(launch, _)| *launch)
                .collect()
        };
        if over.is_empty() {
            return;
        }
        match account::drop_placement_groups(&self.api, &self.owner(), &over).await {
            Ok(()) => self.placed().retain(|launch, _| !over.contains(launch)),
            Err(error) => tracing::warn!(%error, "placement groups stay for now"),
        }
    }
}

/// The answer to each index of an order.
fn answers(order: &LaunchOrder, found: &[Listed]) -> Vec<LaunchAnswer> {
    let got = found.len();
    let answer = |index: u32| {
        let one = found.iter().find(|one| one.index == Some(index));
        let one = one.ok_or_else(|| {
            let words = format!(
                "RunInstances: EC2 had {got} of {} machines of {}",
                order.count, order.shape.name
            );
            ProviderError::new(ErrorClass::NoCapacity, words)
        })?;
        let (launched_at, address) = (one.launched_at, one.address);
        Ok(Launched { index, instance: one.instance.clone(), launched_at, address })
    };
    (0..order.count).map(answer).collect()
}

fn ids(list: &[Listed]) -> Vec<String> {
    let alive = list.iter().filter(|one| one.phase != Phase::Ended);
    alive.map(|one| one.instance.to_string()).collect()
}

fn was_ended(launch: LaunchId) -> ProviderError {
    ProviderError::new(
        ErrorClass::Unknown,
        format!("RunInstances: launch {launch} was ended before it was made"),
    )
}

#[async_trait]
impl Provider for Ec2Provider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Ec2
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError> {
        if self.ended().contains(&order.launch) {
            return Err(was_ended(order.launch));
        }
        let bad = |words| ProviderError::new(ErrorClass::BadConfig, words);
        let place = self.place(order).await?;
        let scratch = Scratch::of(order, place.facts.as_ref());
        let user_data = user_data::user_data(order, scratch).map_err(bad)?;
        let params = launch::params(order, &place, &user_data)?;
        let reply = match self.api.ask(Action::RunInstances, &params).await {
            Ok(reply) => reply,
            Err(failure) => {
                let told = self.api.told(Action::RunInstances, &failure);
                // Of other words, or of machines that have ended.
                if failure.code().starts_with("Idempotent") {
                    return self.adopt(order, told).await;
                }
                if failure.code().starts_with("InvalidGroup") {
                    self.groups.forget().await;
                    return Err(ProviderError::new(ErrorClass::Unknown, told.message));
                }
                return Err(told);
            }
        };
        let found: Vec<Listed> = instances(&reply).into_iter().filter_map(listed).collect();
        if found.is_empty() {
            return Err(ProviderError::new(
                ErrorClass::Unknown,
                "RunInstances: EC2's answer names no machine",
            ));
        }
        if self.ended().contains(&order.launch) {
            // While it was under way.
            calls::end_all(&self.api, ids(&found)).await?;
            return Err(was_ended(order.launch));
        }
        Ok(answers(order, &found))
    }

    async fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError> {
        let mut all = Vec::new();
        for target in targets {
            match target {
                // What is no id of EC2's never was there.
                Target::Instance(instance) if is_id(instance.as_str()) => {
                    all.push(instance.to_string())
                }
                Target::Instance(_) => {}
                Target::Launch(launch) => {
                    self.remember_end(*launch);
                    all.extend(ids(&self.of_launch(*launch).await?));
                }
            }
        }
        calls::end_all(&self.api, all).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let mut list = self.described(&self.only()).await?;
        self.ends.settle(&mut list, now());
        self.drop_groups(&list).await;
        Ok(list)
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        prices::offerings(&self.api, &self.known, &self.settings.pools).await
    }

    async fn console(&self, instance: &InstanceRef) -> Result<String, ProviderError> {
        calls::console(&self.api, instance).await
    }

    async fn standing(&self) -> Result<Vec<Standing>, ProviderError> {
        let role = format!("tag:{ROLE_TAG}");
        let params = self.only().filter(&role, [HEAD]);
        let prices = &self.settings.standing;
        let mut found = Vec::new();
        for page in calls::instances(&self.api, &params).await? {
            found.extend(standing::heads(&page, prices));
        }
        self.head_ends.settle(&mut found, now());
        for page in self.api.pages(Action::DescribeVolumes, &params).await? {
            found.extend(standing::volumes(&page, prices));
        }
        Ok(found)
    }

    async fn checkup(&self, asked: &Asked<'_>) -> Vec<Finding> {
        self.look(asked).await
    }

    fn consistency_window_ms(&self) -> u64 {
        60_000
    }

    async fn clean_up(&self) -> Result<Vec<String>, ProviderError> {
        self.groups.forget().await;
        account::clean_up(&self.api, &self.owner()).await
    }
}

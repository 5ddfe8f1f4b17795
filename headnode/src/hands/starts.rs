//! Start orders: the plan of a run, and the user as this machine knows them now.
use super::orders::profile;
use crate::agents::Hub;
use crate::limits;
use crate::mirror::Mirror;
use crate::people::{People, PeopleError};
use pcluster_core::effect::StartPlan;
use pcluster_wire::StartOrder;

/// Makes start orders. Cheap to clone.
#[derive(Clone)]
pub struct Starts {
    people: People,
    mirror: Mirror,
    hub: Hub,
}

/// A run whose user cannot be had; its job cannot run, and this says why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unstartable(pub String);

impl Starts {
    /// Asks `people` who the users are.
    #[must_use]
    pub fn new(people: People, mirror: Mirror, hub: Hub) -> Self {
        Self { people, mirror, hub }
    }

    /// The order for a plan, with the user's groups as they are now.
    ///
    /// # Errors
    /// When the account is gone, has another name now, or nobody can say.
    pub async fn order(&self, plan: &StartPlan) -> Result<StartOrder, Unstartable> {
        let user = self.user(plan).await?;
        let profile = {
            let cluster = self.mirror.read();
            let image = cluster.config().and_then(|config| config.image(&plan.image));
            image.and_then(profile)
        };
        Ok(StartOrder {
            run: plan.run,
            order: plan.order,
            job: plan.job,
            task: plan.task,
            raw_job: plan.raw_job,
            attempt: plan.attempt,
            spec: (*plan.spec).clone(),
            user,
            pool: plan.pool.clone(),
            resources: plan.resources,
            nodes: plan.nodes.clone(),
            node_cpus: plan.node_cpus.clone(),
            node_addresses: self.hub.addresses(&plan.nodes),
            rank: plan.rank,
            time_limit_ms: plan.time_limit_ms,
            term_grace_ms: plan.term_grace_ms,
            profile,
        })
    }

    async fn user(&self, plan: &StartPlan) -> Result<pcluster_wire::UserIdentity, Unstartable> {
        let uid = plan.owner.uid;
        let mut tries = 0;
        let person = loop {
            match self.people.by_uid(uid).await {
                Ok(person) => break person,
                Err(error @ PeopleError::NoAccount(_)) => {
                    return Err(Unstartable(error.to_string()));
                }
                Err(error) => {
                    tries += 1;
                    if tries == limits::PEOPLE_TRIES {
                        return Err(Unstartable(error.to_string()));
                    }
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        };
        let found = &person.identity;
        if found.name != plan.owner.user.as_str() {
            // Numbers are given away again: the new holder has not asked for this.
            return Err(Unstartable(format!(
                "user number {uid} was {} at submit and is {} now",
                plan.owner.user, found.name
            )));
        }
        Ok(found.clone())
    }
}

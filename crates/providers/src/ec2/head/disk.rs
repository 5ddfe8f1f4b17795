//! The volume of the head's state: made once, in the zone of the head's first machine, and found again by every later
//! one.
//!
//! Invariant: its token follows from the id of the head's group, which lives from an `up` to a `down`; so a volume that
//! was asked for and not heard of is the same volume, and one that was deleted does not come back.
use super::found::{HeadInstance, HeadVolume};
use super::{DISK_WITHIN, Ec2Head, Patience, Say, too_long};
use crate::ec2::machines::{HEAD, ROLE_TAG};
use crate::provider::{ErrorClass, ProviderError};
use pcluster_ec2::{Action, Params};

/// Where it is attached; the machine knows it by its id as serial number.
const DEVICE: &str = "/dev/sdf";
/// Volumes of one group that somebody deleted by hand, at most.
const GENERATIONS: u32 = 5;

impl Ec2Head {
    /// The volumes of the head, the first to be used first.
    async fn own_volumes(&self) -> Result<Vec<HeadVolume>, ProviderError> {
        let mut all = self.volumes(&self.owner().only()).await?;
        all.sort_by_key(|one| (one.created_at, one.id.clone()));
        Ok(all)
    }

    /// A new volume in a zone, or the one that an earlier call made there.
    pub(super) async fn made_volume(
        &self,
        group: &str,
        zone: &str,
        say: Say<'_>,
    ) -> Result<HeadVolume, ProviderError> {
        let gib = self.wish.gib();
        say(&format!("making a volume of {gib} GB in {zone}"));
        for generation in 1..=GENERATIONS {
            let name = format!("{} head", self.wish.cluster_name);
            let more = [("Name", name.as_str()), (ROLE_TAG, HEAD)];
            let params = Params::new()
                .with("AvailabilityZone", zone)
                .with("Size", gib.to_string())
                .with("VolumeType", "gp3")
                .with("ClientToken", format!("{}-disk-{group}-{generation}", self.wish.cluster));
            let params = self.owner().tagged(params, "volume", &more);
            let made = self.api.ask(Action::CreateVolume, &params).await;
            let id = match &made {
                Ok(reply) => reply.text_at("volumeId"),
                // Asked for with other words, such as another size: it has the head's tags.
                Err(failure) if failure.code() == "IdempotentParameterMismatch" => None,
                Err(failure) => return Err(self.api.told(Action::CreateVolume, failure)),
            };
            if let Some(volume) = self.listed_volume(id).await? {
                return Ok(volume);
            }
            // It was deleted: the next token is that of another one.
        }
        Err(ProviderError::new(
            ErrorClass::Unknown,
            "CreateVolume: EC2 gives volumes that are none any more",
        ))
    }

    /// The volume of that id, or any of the head's; `None` where there is none after all that lists may be behind.
    async fn listed_volume(&self, id: Option<&str>) -> Result<Option<HeadVolume>, ProviderError> {
        let mut patience = Patience::of(self.lag);
        loop {
            let all = self.own_volumes().await?;
            let found = all.into_iter().find(|one| id.is_none_or(|id| one.id == id));
            if found.is_some() || !patience.is_left().await {
                return Ok(found);
            }
        }
    }

    /// Waits until the volume is the machine's.
    pub(super) async fn attached(
        &self,
        volume: &HeadVolume,
        machine: &HeadInstance,
        say: Say<'_>,
    ) -> Result<(), ProviderError> {
        let mut patience = Patience::of(DISK_WITHIN);
        let mut is_said = false;
        loop {
            let all = self.own_volumes().await?;
            let now = all.iter().find(|one| one.id == volume.id);
            let words = match now {
                Some(now) if now.instance.as_ref() == Some(&machine.instance) => {
                    if now.attachment == "attached" {
                        return Ok(());
                    }
                    format!("volume {} is {}", volume.id, now.attachment)
                }
                Some(HeadVolume { instance: Some(other), .. }) => {
                    format!("volume {} is still attached to {other}", volume.id)
                }
                Some(now) if now.state == "available" => self.attach(&volume.id, machine).await?,
                Some(now) => format!("volume {} is {}", volume.id, now.state),
                None => format!("volume {} is not listed", volume.id),
            };
            if !is_said {
                say(&words);
                is_said = true;
            }
            if !patience.is_left().await {
                return Err(too_long(&words, DISK_WITHIN));
            }
        }
    }

    async fn attach(&self, volume: &str, machine: &HeadInstance) -> Result<String, ProviderError> {
        let params = Params::new()
            .with("VolumeId", volume)
            .with("InstanceId", machine.instance.as_str())
            .with("Device", DEVICE);
        match self.api.ask(Action::AttachVolume, &params).await {
            Ok(_) => Ok(format!("volume {volume} is being attached to {}", machine.instance)),
            // Done before, or too early: the list says which.
            Err(failure)
                if [
                    "VolumeInUse",
                    "IncorrectState",
                    "IncorrectInstanceState",
                    "InvalidInstanceID.NotFound",
                ]
                .contains(&failure.code()) =>
            {
                Ok(format!("volume {volume} is not attached yet: {failure}"))
            }
            Err(failure) => Err(self.api.told(Action::AttachVolume, &failure)),
        }
    }

    /// Deletes the volume, or says why it stays.
    pub(super) async fn drop_volume(&self, id: &str) -> Result<String, ProviderError> {
        let params = Params::new().with("VolumeId", id);
        let mut patience = Patience::of(DISK_WITHIN);
        loop {
            match self.api.ask(Action::DeleteVolume, &params).await {
                Ok(_) => return Ok(format!("volume {id} deleted")),
                Err(failure) if failure.code() == "InvalidVolume.NotFound" => {
                    return Ok(format!("volume {id} was gone"));
                }
                // Of a machine that has ended a moment ago.
                Err(failure) if ["VolumeInUse", "IncorrectState"].contains(&failure.code()) => {
                    if !patience.is_left().await {
                        return Ok(format!("volume {id} stays: {failure}"));
                    }
                }
                Err(failure) => return Err(self.api.told(Action::DeleteVolume, &failure)),
            }
        }
    }
}

//! The head's instance: launched where its volume is, or found again; and the key that its SSH server has.
//!
//! Invariant: a client token is used for ever up, also by an instance that has ended. Tokens are numbered; one whose
//! instance has ended is passed over, and one whose instance may still come is waited for, so there are never two.
use super::found::{HeadInstance, HeadThere, HeadVolume};
use super::{Ec2Head, Patience, Say, too_long};
use crate::ec2::calls;
use crate::ec2::machines::{self, HEAD, ROLE_TAG};
use crate::ec2::types::{ImageFacts, SubnetFacts};
use crate::ec2::user_data::plain;
use crate::provider::{ErrorClass, ProviderError, now};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pcluster_ec2::{Action, Element, Failure, Params};
use std::time::Duration;

const SCRIPT: &str = include_str!("../head-user-data.sh");
/// Machines of one `up`-to-`down` that have ended, at most.
const GENERATIONS: u32 = 50;
const RUNS_WITHIN: Duration = Duration::from_secs(300);
/// From the launch to the keys on the console; types before Nitro keep a console back for some minutes.
const SPEAKS_WITHIN: Duration = Duration::from_secs(600);
const KEY_LINE: &str = "pcluster host key: ";
const FAILURE_LINE: &str = "pcluster head failed: ";
const READY_LINE: &str = "pcluster: this machine is ready for a head";

/// A subnet where the machine may be.
#[derive(Debug, Clone)]
pub(super) struct Subnet {
    pub id: String,
    pub facts: SubnetFacts,
}

/// The two groups that the machine is in.
#[derive(Debug)]
pub(super) struct InGroups {
    pub nodes: String,
    pub door: String,
}

/// What became of a call for a machine.
enum Asked {
    Machine(String),
    /// The token's machine has ended.
    Ended,
    /// The token stands for a machine that was asked for with other words.
    Other,
}

impl Ec2Head {
    /// Where the machine may be, of one VPC: where it is; else where its volume is; else anywhere that was named.
    pub(super) async fn subnets(&self, there: &HeadThere) -> Result<Vec<Subnet>, ProviderError> {
        if let Some(machine) = &there.instance {
            let facts = self.known.subnet(&self.api, &machine.subnet).await?;
            return Ok(vec![Subnet { id: machine.subnet.clone(), facts }]);
        }
        let mut all = Vec::new();
        for id in &self.wish.subnets {
            let facts = self.known.subnet(&self.api, id).await?;
            all.push(Subnet { id: id.clone(), facts });
        }
        if self.wish.subnets.is_empty() {
            all = self.default_subnets().await?;
        }
        fitting(all, there.volume.as_ref(), self.wish.subnets.is_empty())
    }

    async fn default_subnets(&self) -> Result<Vec<Subnet>, ProviderError> {
        let params = Params::new().filter("default-for-az", ["true"]);
        let pages = self.api.pages(Action::DescribeSubnets, &params).await?;
        let read = |item: &Element| {
            let text = |name: &str| item.text_at(name).map(str::to_owned);
            let facts = SubnetFacts { vpc: text("vpcId")?, zone: text("availabilityZone")? };
            Some(Subnet { id: text("subnetId")?, facts })
        };
        let all = pages.iter().flat_map(|page| page.items("subnetSet"));
        let mut all: Vec<Subnet> = all.filter_map(read).collect();
        all.sort_by(|a, b| (&a.facts.zone, &a.id).cmp(&(&b.facts.zone, &b.id)));
        Ok(all)
    }

    /// One that is there, when it runs.
    pub(super) async fn adopted(
        &self,
        machine: HeadInstance,
        say: Say<'_>,
    ) -> Result<HeadInstance, ProviderError> {
        let id = &machine.instance;
        if machine.state.starts_with("stop") {
            let words = format!(
                "the head's machine {id} is {}: start it (aws ec2 start-instances --instance-ids {id}), or end it \
                 (aws ec2 terminate-instances --instance-ids {id}), then `pcluster up`",
                machine.state
            );
            return Err(ProviderError::new(ErrorClass::BadConfig, words));
        }
        say(&format!("found {id}, a {}", machine.machine_type));
        let runs = self.runs(id.as_str(), say).await?;
        runs.ok_or_else(|| ended(&machine))
    }

    /// A new one, or the one of an earlier call that is not listed yet.
    pub(super) async fn launched(
        &self,
        subnets: &[Subnet],
        groups: &InGroups,
        volume: Option<&HeadVolume>,
        say: Say<'_>,
    ) -> Result<HeadInstance, ProviderError> {
        let image = self.image().await?;
        for generation in 1..=GENERATIONS {
            let asked =
                self.asked_anywhere(subnets, groups, (&image, generation), volume, say).await?;
            let found = match asked {
                Asked::Machine(id) => self.runs(&id, say).await?,
                Asked::Ended => None,
                Asked::Other => self.listed(say).await?,
            };
            if let Some(machine) = found {
                return Ok(machine);
            }
        }
        Err(ProviderError::new(
            ErrorClass::Unknown,
            "RunInstances: too many machines of this head have ended; `pcluster down` begins anew",
        ))
    }

    async fn image(&self) -> Result<ImageFacts, ProviderError> {
        let name = &self.wish.machine_type;
        let arch = self.known.type_of(&self.api, name).await?.arch;
        if arch != self.wish.arch {
            let words = format!(
                "{name} is {arch}, and the programs for it are {}: head.type of the other architecture, or pcluster \
                 built for this one",
                self.wish.arch
            );
            return Err(ProviderError::new(ErrorClass::BadConfig, words));
        }
        self.known.image_for(&self.api, &self.wish.image, name, &arch).await
    }

    /// The same token everywhere: where there is no capacity it is not used up.
    async fn asked_anywhere(
        &self,
        subnets: &[Subnet],
        groups: &InGroups,
        (image, generation): (&ImageFacts, u32),
        volume: Option<&HeadVolume>,
        say: Say<'_>,
    ) -> Result<Asked, ProviderError> {
        let mut last = None;
        for subnet in subnets {
            say(&format!("asking for a {} in {}", self.wish.machine_type, subnet.facts.zone));
            let params = self.params(subnet, groups, image, generation);
            let failure = match self.api.ask(Action::RunInstances, &params).await {
                Ok(reply) => return asked(&reply),
                Err(failure) => failure,
            };
            match failure.code() {
                "IdempotentInstanceTerminated" => return Ok(Asked::Ended),
                "IdempotentParameterMismatch" => return Ok(Asked::Other),
                _ => {}
            }
            let told = self.refused(&failure, volume);
            if !matches!(told.class, ErrorClass::NoCapacity | ErrorClass::NeverFits) {
                return Err(told);
            }
            last = Some(told);
        }
        Err(last.unwrap_or_else(|| ProviderError::new(ErrorClass::BadConfig, "no subnet is left")))
    }

    /// A refusal, with what helps here.
    fn refused(&self, failure: &Failure, volume: Option<&HeadVolume>) -> ProviderError {
        let mut told = self.api.told(Action::RunInstances, failure);
        let profile = &self.wish.instance_profile;
        if failure.to_string().to_lowercase().contains("iaminstanceprofile") {
            told.class = ErrorClass::BadConfig;
            told.message += &format!(
                "; the account has no instance profile {profile} with a role in it: docs/ec2.md has the four commands \
                 that make it, and one that was made a moment ago takes some seconds"
            );
        } else if let (ErrorClass::NoCapacity | ErrorClass::NeverFits, Some(volume)) =
            (&told.class, volume)
        {
            told.message += &format!(
                "; volume {} of the head's state is in {}, so its machine must be there: name another head.type",
                volume.id, volume.zone
            );
        }
        told
    }

    fn params(
        &self,
        subnet: &Subnet,
        groups: &InGroups,
        image: &ImageFacts,
        generation: u32,
    ) -> Params {
        let wish = &self.wish;
        let name = format!("{} head", wish.cluster_name);
        let named = [("Name", name.as_str())];
        let heads = [("Name", name.as_str()), (ROLE_TAG, HEAD)];
        let mut params = Params::new()
            .with("ImageId", &image.id)
            .with("InstanceType", &wish.machine_type)
            .with("MinCount", "1")
            .with("MaxCount", "1")
            .with("ClientToken", format!("{}-head-{}-{generation}", wish.cluster, groups.door))
            .with("UserData", BASE64.encode(self.user_data()))
            // Whoever powers it off ends its bill; the state is on the volume.
            .with("InstanceInitiatedShutdownBehavior", "terminate")
            .with("IamInstanceProfile.Name", &wish.instance_profile)
            .with("MetadataOptions.HttpTokens", "required")
            .with("MetadataOptions.HttpEndpoint", "enabled")
            .with("MetadataOptions.HttpPutResponseHopLimit", "1")
            .with("SubnetId", &subnet.id)
            .list("SecurityGroupId", [&groups.nodes, &groups.door]);
        if image.root_gib > 0 {
            params.push("BlockDeviceMapping.1.DeviceName", &image.root_device);
            params.push("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true");
            params.push("BlockDeviceMapping.1.Ebs.VolumeType", "gp3");
            params.push("BlockDeviceMapping.1.Ebs.VolumeSize", image.root_gib.to_string());
        }
        let params = self.owner().tagged(params, "instance", &heads);
        // Its root is not the volume of the state.
        self.owner().tagged(params, "volume", &named)
    }

    pub(super) fn user_data(&self) -> String {
        let key: Vec<String> = self.wish.public_key.split_whitespace().map(quoted).collect();
        SCRIPT
            .replace("@ACCOUNT@", &self.wish.account)
            .replace("@KEY@", &key.join(" "))
            .replace("@NAME@", &plain(&self.wish.cluster_name))
    }

    async fn heads(&self) -> Result<Vec<HeadInstance>, ProviderError> {
        let pages = calls::instances(&self.api, &self.owner().only()).await?;
        let all = pages.iter().flat_map(machines::instances);
        Ok(all.filter_map(super::found::instance).collect())
    }

    /// Any machine of the head, when it runs; `None` when none is listed after all that lists may be behind.
    async fn listed(&self, say: Say<'_>) -> Result<Option<HeadInstance>, ProviderError> {
        say("a machine was asked for before; looking for it");
        let mut patience = Patience::of(self.lag);
        loop {
            let found = self.heads().await?.into_iter().find(|one| !one.has_ended());
            if let Some(machine) = found {
                return self.runs(machine.instance.as_str(), say).await;
            }
            if !patience.is_left().await {
                return Ok(None);
            }
        }
    }

    /// The machine of that id when it runs; `None` when it had ended before it was first seen.
    async fn runs(&self, id: &str, say: Say<'_>) -> Result<Option<HeadInstance>, ProviderError> {
        let mut patience = Patience::of(RUNS_WITHIN);
        let mut is_seen = false;
        loop {
            let now = self.heads().await?.into_iter().find(|one| one.instance.as_str() == id);
            let state = match now {
                Some(machine) if machine.state == "running" && !machine.address.is_empty() => {
                    return Ok(Some(machine));
                }
                Some(machine) if machine.has_ended() && is_seen => return Err(ended(&machine)),
                Some(machine) if machine.has_ended() => return Ok(None),
                Some(machine) => machine.state,
                None => "not listed".to_owned(),
            };
            if !is_seen {
                say(&format!("{id} is {state}"));
            }
            is_seen = true;
            if !patience.is_left().await {
                return Err(too_long(&format!("{id} is {state}"), RUNS_WITHIN));
            }
        }
    }

    /// The machine's SSH key, from its console.
    pub(super) async fn host_key(
        &self,
        machine: &HeadInstance,
        say: Say<'_>,
    ) -> Result<Option<String>, ProviderError> {
        let id = &machine.instance;
        let mut patience = Patience::of(SPEAKS_WITHIN);
        let mut is_said = false;
        loop {
            let console = calls::console(&self.api, id).await?;
            if let Some(key) = key_of(&console) {
                return Ok(Some(key));
            }
            if let Some(why) = after(&console, FAILURE_LINE) {
                let words =
                    format!("{id} is no machine for a head: {why}; `pcluster down` ends it");
                return Err(ProviderError::new(ErrorClass::BadConfig, words));
            }
            let age_ms = now().0.saturating_sub(machine.launched_at.0);
            if u128::try_from(age_ms).unwrap_or(0) > SPEAKS_WITHIN.as_millis() {
                return Ok(None);
            }
            if !is_said {
                say(&format!("{id} boots; waiting for its SSH key on its console"));
                is_said = true;
            }
            if !patience.is_left().await {
                let last: Vec<&str> = console.lines().rev().take(5).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                let what = format!(
                    "{id} has not said its SSH key; its console ends with:\n{}\n",
                    last.join("\n")
                );
                return Err(too_long(&what, SPEAKS_WITHIN));
            }
        }
    }
}

/// Without what a quoted word of a shell must not have.
fn quoted(word: &str) -> String {
    word.chars().filter(|letter| *letter != '\'' && !letter.is_control()).collect()
}

/// Those of one VPC where the volume can be attached.
fn fitting(
    mut all: Vec<Subnet>,
    volume: Option<&HeadVolume>,
    is_default: bool,
) -> Result<Vec<Subnet>, ProviderError> {
    let bad = |words| Err(ProviderError::new(ErrorClass::BadConfig, words));
    if let Some(volume) = volume {
        all.retain(|subnet| subnet.facts.zone == volume.zone);
        if all.is_empty() {
            let where_from =
                if is_default { "the default VPC has no subnet" } else { "[ec2] subnets has none" };
            return bad(format!(
                "volume {} of the head's state lies in {}, and {where_from} there: add one of that zone to subnets of \
                 [ec2], or move the volume by a snapshot",
                volume.id, volume.zone
            ));
        }
    }
    let Some(vpc) = all.first().map(|subnet| subnet.facts.vpc.clone()) else {
        return bad("the account has no default subnet here: name some in subnets of [ec2]".into());
    };
    all.retain(|subnet| subnet.facts.vpc == vpc);
    Ok(all)
}

fn asked(reply: &Element) -> Result<Asked, ProviderError> {
    let id = machines::instances(reply).into_iter().find_map(|one| one.text_at("instanceId"));
    let none =
        || ProviderError::new(ErrorClass::Unknown, "RunInstances: EC2's answer names no machine");
    id.map(|id| Asked::Machine(id.to_owned())).ok_or_else(none)
}

fn ended(machine: &HeadInstance) -> ProviderError {
    let words = format!("{} ended before it ran: {}", machine.instance, machine.reason);
    ProviderError::new(ErrorClass::Unknown, words)
}

/// What stands behind some words on a line of a console.
fn after<'a>(console: &'a str, words: &str) -> Option<&'a str> {
    console.lines().find_map(|line| line.split_once(words)).map(|(_, rest)| rest.trim())
}

/// The Ed25519 key of the machine; one of another kind when it has said all of its keys.
fn key_of(console: &str) -> Option<String> {
    let lines = console.lines().filter_map(|line| line.split_once(KEY_LINE));
    let keys: Vec<String> = lines.filter_map(|(_, rest)| whole_key(rest)).collect();
    let best = keys.iter().find(|key| key.starts_with("ssh-ed25519 "));
    let is_ready = console.contains(READY_LINE);
    best.or_else(|| keys.first().filter(|_| is_ready)).cloned()
}

/// `KIND TEXT` where the text is of that kind: words of two programs may be mixed on a console.
fn whole_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, text) = (words.next()?, words.next()?);
    let bytes = BASE64.decode(text).ok()?;
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let named = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    // An Ed25519 key has one length.
    let is_whole = kind != "ssh-ed25519" || bytes.len() == 51;
    (named == kind.as_bytes() && is_whole).then(|| format!("{kind} {text}"))
}

#[cfg(test)]
mod tests;

//! The account's side of a head on a machine made for it, for `pcluster up` and `down`: nothing of it is a head.
//!
//! Invariant: the answer is one JSON object on the standard output; progress and failures are lines on the other.
//! Deliberately absent: what is done on the machine (`pcluster-bootstrap`), and what is remembered (clients).
use crate::boot::read_config;
use crate::hands::orders::image;
use pcluster_api::{HeadMachineView, HeadRemovedView, HeadThereView, HeadVolumeView};
use pcluster_config::head_volume;
use pcluster_model::ClusterId;
use pcluster_model::config::{Config, ProviderKind};
use pcluster_providers::ec2::{Ec2Head, HeadThere, HeadWish, own_address};
use pcluster_providers::{LaunchImage, ProviderError};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// The image of a head's machine. A file names images of nodes, which hold what jobs need.
const IMAGE: &str = "debian-12";

/// What to do about the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Say what is there.
    Look,
    /// Make what is missing.
    Make,
}

/// Arguments of `place-head`.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    pub what: What,
    #[arg(long)]
    pub config: PathBuf,
    /// The cluster's id
    #[arg(long)]
    pub cluster: String,
    #[arg(long)]
    pub account: String,
    #[arg(long)]
    pub public_key: String,
    /// Of the programs that it will get
    #[arg(long)]
    pub arch: String,
}

/// Arguments of `remove-head`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The cluster's id
    #[arg(long)]
    pub cluster: String,
    #[arg(long)]
    pub name: String,
    #[arg(long)]
    pub region: String,
    #[arg(long)]
    pub delete_storage: bool,
    /// Say what is there, and leave it
    #[arg(long)]
    pub only_look: bool,
}

/// `place-head`.
#[must_use]
pub fn place(args: &PlaceArgs) -> ExitCode {
    told(run(async {
        let file = read_config(&args.config).map_err(|error| error.to_string())?;
        let wish = wish(&file.config, args)?;
        match args.what {
            What::Look => json(&there(Ec2Head::new(wish).look().await.map_err(words)?)),
            What::Make => {
                let allow = allow(&file.config).await?;
                let head = Ec2Head::new(HeadWish { allow, ..wish });
                let machine = head.place(&say).await.map_err(words)?;
                json(&HeadMachineView {
                    instance: machine.instance.to_string(),
                    address: machine.address,
                    host_key: machine.host_key,
                    volume: machine.volume,
                    zone: machine.zone,
                })
            }
        }
    }))
}

/// `remove-head`.
#[must_use]
pub fn remove(args: &RemoveArgs) -> ExitCode {
    told(run(async {
        let head = Ec2Head::new(HeadWish {
            region: args.region.clone(),
            environment: None,
            cluster: ClusterId::from(args.cluster.as_str()),
            cluster_name: args.name.clone(),
            machine_type: String::new(),
            arch: String::new(),
            subnets: Vec::new(),
            image: LaunchImage { name: IMAGE.into(), reference: String::new() },
            instance_profile: String::new(),
            allow: Vec::new(),
            volume_bytes: 0,
            account: String::new(),
            public_key: String::new(),
        });
        if args.only_look {
            return json(&there(head.look().await.map_err(words)?));
        }
        let lines = head.remove(args.delete_storage, &say).await.map_err(words)?;
        let volume = there(head.look().await.map_err(words)?).volume;
        json(&HeadRemovedView { lines, volume })
    }))
}

fn run(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    crate::agents::tls::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

fn told(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn words(error: ProviderError) -> String {
    error.to_string()
}

fn say(line: &str) {
    eprintln!("{line}");
}

fn json(view: &impl Serialize) -> Result<(), String> {
    println!("{}", serde_json::to_string(view).map_err(|error| error.to_string())?);
    Ok(())
}

fn wish(config: &Config, args: &PlaceArgs) -> Result<HeadWish, String> {
    let (Some(machine_type), Some(volume_bytes)) =
        (config.head.instance_type.clone(), head_volume(config))
    else {
        return Err("the file has no head.type".into());
    };
    let pool = config.pools.iter().find(|pool| pool.provider == ProviderKind::Ec2);
    Ok(HeadWish {
        region: config.ec2.region.clone(),
        environment: None,
        cluster: ClusterId::from(args.cluster.as_str()),
        cluster_name: config.name.clone(),
        machine_type,
        arch: args.arch.clone(),
        subnets: pool.map(|pool| pool.subnets.clone()).unwrap_or_default(),
        image: image(config, &ProviderKind::Ec2, IMAGE)
            .unwrap_or_else(|_| LaunchImage { name: IMAGE.into(), reference: String::new() }),
        instance_profile: config.ec2.instance_profile.clone(),
        allow: Vec::new(),
        volume_bytes,
        account: args.account.clone(),
        public_key: args.public_key.clone(),
    })
}

/// As the file says, or where this machine's requests come from.
async fn allow(config: &Config) -> Result<Vec<String>, String> {
    if !config.ec2.allow.is_empty() {
        return Ok(config.ec2.allow.clone());
    }
    let own = own_address().await.map_err(|why| {
        format!(
            "nobody says which address this machine has in the Internet: {why}\n\
             hint: [ec2] allow = [\"203.0.113.0/24\"]   names the networks that may reach the head by SSH"
        )
    })?;
    say(&format!("SSH to the head is let in from {own}, and from nowhere else"));
    Ok(vec![own.to_string()])
}

fn there(there: HeadThere) -> HeadThereView {
    HeadThereView {
        instance: there.instance.map(|one| one.instance.to_string()),
        volume: there.volume.map(|volume| HeadVolumeView {
            volume: volume.id,
            bytes: volume.gib << 30,
            zone: volume.zone,
        }),
        nodes: u32::try_from(there.machines.len()).unwrap_or(u32::MAX),
        namesakes: there.namesakes.iter().flat_map(|one| one.things.clone()).collect(),
    }
}

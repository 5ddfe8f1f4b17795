//! `pcluster doctor`, as far as this program knows more than the command: the machine, the state, the
//! providers, and the port that nodes dial.
//!
//! Deliberately absent: what a running head says of itself; the command asks it.
use crate::assemble::{self, agent_beside};
use crate::boot::{ConfigFile, read_config};
use crate::hands::orders;
use crate::{image, limits};
use clap::Args;
use pcluster_api::places::{Places, Surroundings};
use pcluster_api::{DoctorView, Finding, Topic};
use pcluster_checkup::{Dialled, Machine};
use pcluster_core::Cluster;
use pcluster_images::Store;
use pcluster_model::ClusterId;
use pcluster_model::config::{ProviderKind, VmNetwork};
use pcluster_providers::checkup::Asked;
use pcluster_upkeep::files;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is looked at.
#[derive(Debug, Args)]
pub struct CheckupArgs {
    #[arg(long)]
    config: PathBuf,
    /// The state of the head that answers, which may be another user's; nothing answers without it
    #[arg(long, value_name = "DIR")]
    running: Option<PathBuf>,
    /// Try again what is known
    #[arg(long)]
    thorough: bool,
    #[arg(value_name = "TOPIC", value_parser = topic)]
    topics: Vec<Topic>,
}

fn topic(word: &str) -> Result<Topic, String> {
    let found = Topic::ALL.into_iter().find(|topic| topic.word() == word);
    found.ok_or_else(|| "no such topic".to_owned())
}

/// Looks, and tells it as one line of JSON; 0 whatever was found.
#[must_use]
pub fn main(args: &CheckupArgs) -> ExitCode {
    match look(args) {
        Ok(view) => {
            println!("{}", serde_json::to_string(&view).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}

fn look(args: &CheckupArgs) -> Result<DoctorView, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let file = read_config(&args.config).map_err(|error| words(&error))?;
    let here = Surroundings::of_process(rustix::process::geteuid().as_raw());
    let mut places = here.places(&file.config.name).map_err(|error| words(&error))?;
    if let Some(state) = &args.running {
        places.state_dir.clone_from(state);
    }
    let state = &places.state_dir;
    let running = args.running.is_some();
    let id = fs::read_to_string(state.join(files::CLUSTER_ID)).unwrap_or_default();
    let id = ClusterId::from(id.trim());
    let mut found = Vec::new();
    for topic in &args.topics {
        let is_there = matches!(topic, Topic::Head | Topic::Network | Topic::Storage);
        if is_there && file.is_placed_elsewhere() {
            let what = "the head gets a machine of its own: this is looked at there, by `pcluster doctor` once it is up";
            found.push(Finding::note(*topic, what));
            continue;
        }
        match topic {
            Topic::Head => found.extend(pcluster_checkup::state(state, running)),
            Topic::Machine => found.extend(machine(state)),
            Topic::Network => found.extend(network(&file, state, running)?),
            Topic::Storage => {
                let token = format!(".pcluster/{id}");
                found.extend(pcluster_checkup::shared(&file.config, &token));
            }
            Topic::Config | Topic::Provider | Topic::Image => {}
        }
    }
    let of_providers = providers(args, &file, &places, &id)?;
    found.extend(of_providers.into_iter().filter(|one| args.topics.contains(&one.topic)));
    Ok(DoctorView::new(&file.config.name, found))
}

fn machine(state: &Path) -> Vec<Finding> {
    pcluster_checkup::machine(&Machine {
        programs: agent_beside().parent().unwrap_or(Path::new(".")).into(),
        version: crate::run::VERSION,
        state_dir: state.into(),
        low_disk_bytes: limits::LOW_DISK_BYTES,
        files: limits::FILES,
    })
}

fn network(file: &ConfigFile, state: &Path, running: bool) -> Result<Vec<Finding>, String> {
    let (_, asked) = assemble::listen(&file.config).map_err(|error| error.to_string())?;
    let kept = fs::read_to_string(state.join(files::NODE_ADDRESS));
    let kept: Option<SocketAddr> = kept.ok().and_then(|text| text.trim().parse().ok());
    let dialled = kept.map_or_else(Vec::new, |bound| dialled(file, bound));
    let certificate = state.join(files::HEAD_CERTIFICATE);
    let mut found = pcluster_checkup::doors(&dialled, &certificate, Some(asked), running);
    found.extend(pcluster_checkup::servers(&file.config));
    Ok(found)
}

/// Every address that nodes are told, with the pools that dial it.
fn dialled(file: &ConfigFile, bound: SocketAddr) -> Vec<Dialled> {
    let config = &file.config;
    let general = assemble::dialled(config, bound);
    let mut all: Vec<Dialled> = Vec::new();
    for pool in &config.pools {
        let told = orders::address(&pool.provider, config, &general, bound.port());
        let own_way = pool.provider == ProviderKind::Vm && config.head.address.is_none();
        let address = match &config.vm.network {
            // QEMU brings it to this machine's loopback.
            VmNetwork::User if own_way => format!("127.0.0.1:{}", bound.port()),
            // The bridge is there while machines are.
            VmNetwork::Bridge { .. } if own_way => match bound.ip().is_unspecified() {
                true => format!("127.0.0.1:{}", bound.port()),
                false => bound.to_string(),
            },
            _ => told.clone(),
        };
        let on_bridge = own_way && bound.ip().is_unspecified();
        let from_elsewhere = !assemble::is_here(&pool.provider, config) && !on_bridge;
        let name = pool.name.to_string();
        match all.iter_mut().find(|one| one.told == told) {
            Some(known) => known.pools.push(name),
            None => all.push(Dialled { address, told, pools: vec![name], from_elsewhere }),
        }
    }
    all
}

/// What the providers of the file's pools say.
fn providers(
    args: &CheckupArgs,
    file: &ConfigFile,
    places: &Places,
    id: &ClusterId,
) -> Result<Vec<Finding>, String> {
    let wanted = [Topic::Provider, Topic::Image, Topic::Network];
    if !wanted.iter().any(|topic| args.topics.contains(topic)) {
        return Ok(Vec::new());
    }
    let progress = |words: &str| eprintln!("{words} ...");
    let asked = Asked { config: &file.config, thorough: args.thorough, progress: &progress };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    let nothing = Cluster::new(id.clone());
    for provider in assemble::providers(file, places, id, &nothing) {
        if file.config.pools.iter().any(|pool| pool.provider == provider.kind()) {
            found.extend(runtime.block_on(provider.checkup(&asked)));
        }
    }
    found.extend(image::stale(file, &Store::new(&places.images)).into_iter().map(|name| {
        Finding::note(Topic::Image, format!("the recipe of {name} has changed since it was built"))
            .hint(format!("pcluster image build {name}"))
    }));
    Ok(found)
}

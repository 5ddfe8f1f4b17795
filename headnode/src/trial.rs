//! `pcluster provider test`: the conformance suite on somebody's program.
//!
//! It is here because the head's program holds the providers; the command only knows the head.
use crate::agents::token::hex;
use crate::assemble::agent_beside;
use clap::Args;
use pcluster_model::config::External;
use pcluster_model::{ClusterId, DurationMs, Resources, Shape};
use pcluster_providers::LaunchImage;
use pcluster_providers::conformance::{self, RULES};
use pcluster_providers::external::ExternalSettings;
use pcluster_providers::external::trial::Trial;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is tried, and as what.
#[derive(Debug, Args)]
pub struct TrialArgs {
    /// Name of the shape of the machines
    #[arg(long, default_value = "1c")]
    shape: String,
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    #[arg(long, default_value_t = 512 << 20)]
    memory_bytes: u64,
    #[arg(long, default_value = "host")]
    image: String,
    /// A machine may take so long to appear, to speak on its console, or to go
    #[arg(long, default_value_t = 120)]
    patience_seconds: u64,
    /// How long after a call its list may still be wrong
    #[arg(long, default_value_t = 0)]
    consistency_seconds: u64,
    #[arg(long)]
    power_off: bool,
    #[arg(long)]
    json: bool,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl TrialArgs {
    fn settings(&self, shape: Shape) -> ExternalSettings {
        let mut id = [0; 8];
        // Without random bytes the process's number keeps two trials apart.
        if getrandom::fill(&mut id).is_err() {
            id[..4].copy_from_slice(&std::process::id().to_be_bytes());
        }
        ExternalSettings {
            external: External {
                add_users: false,
                name: "trial".into(),
                command: self.command.clone(),
                timeout_ms: DurationMs::from_secs(self.patience_seconds),
                consistency_ms: DurationMs::from_secs(self.consistency_seconds),
                power_off: self.power_off,
            },
            cluster: ClusterId::from(hex(&id).as_str()),
            agent_binary: agent_beside(),
            shapes: vec![shape],
        }
    }
}

/// Runs the suite; tells each rule as it holds, and the first that does not. Exit code 1 then.
#[must_use]
pub fn main(args: &TrialArgs) -> ExitCode {
    let shape = Shape {
        name: args.shape.clone(),
        arch: std::env::consts::ARCH.into(),
        total: Resources {
            cpus: args.cpus,
            memory_bytes: args.memory_bytes,
            gpus: 0,
            tmp_bytes: 0,
        },
        gpu_type: String::new(),
        price: None,
        spot_price: None,
        reserve_bytes: 0,
    };
    let held = AtomicUsize::new(0);
    let trial = Trial {
        settings: args.settings(shape.clone()),
        shape,
        image: LaunchImage { name: args.image.clone(), reference: String::new() },
        patience: Duration::from_secs(args.patience_seconds),
        tell: |rule: &'static str| {
            held.fetch_add(1, Ordering::Relaxed);
            if !args.json {
                println!("holds   {rule}");
            }
        },
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let broken = runtime.block_on(conformance::run(&trial)).err().map(|broken| broken.to_string());
    let held = held.load(Ordering::Relaxed);
    if args.json {
        let said = serde_json::json!({
            "schema": "pcluster.provider_test/1", "rules": RULES, "held": held, "broken": broken,
        });
        println!("{said}");
    } else {
        if let Some(broken) = &broken {
            println!("BROKEN  {broken}");
        }
        println!("{held} of {RULES} rules hold");
    }
    if broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

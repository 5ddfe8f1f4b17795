//! From the head's order to the keeper's: pure but for looking whether image files exist.
//!
//! Invariant: what cannot be said to the keeper is an error in the user's words, before anything is
//! started. Deliberately absent: opening any path that a user controls.
use pcluster_core::agent::env::{self, NodeNames};
use pcluster_keeper::{CgroupOrder, Identity, Notices, OpenMode, RunOrder, Target, WarnSignal};
use pcluster_model::{JobKind, job};
use pcluster_wire::{StartOrder, UserIdentity};
use std::path::{Path, PathBuf};

/// What the node adds to an order.
#[derive(Debug, Clone)]
pub struct NodePart {
    pub names: NodeNames,
    pub image_dir: Option<PathBuf>,
    /// Where private directories are made.
    pub scratch: PathBuf,
    /// Where commands of jobs come to; `None` where that is impossible.
    pub client_socket: Option<PathBuf>,
    /// A directory with `pcluster` and the Slurm names.
    pub commands: Option<PathBuf>,
    pub boot_id: String,
    /// The agent's own program, which also is the step daemon.
    pub agent: PathBuf,
    /// Open files that a job starts with which does not say.
    pub soft_files: Option<u64>,
    /// Local time less UTC, in seconds.
    pub utc_offset_s: i64,
    /// The agent's own user; root may be anybody.
    pub uid: u32,
}

/// True where the step daemon is all that runs: on every node of an allocation without a script, and
/// on every node but the first of a job with one.
pub fn only_steps(order: &StartOrder) -> bool {
    order.rank > 0 || order.spec.kind == JobKind::Allocation
}

/// Everything a keeper needs. `environment` is the blob of submit; there is no script where only
/// steps run.
///
/// # Errors
/// Why this node can never run this order, as a sentence for its user.
pub fn for_keeper(
    order: &StartOrder,
    node: &NodePart,
    environment: &[u8],
    script: Option<PathBuf>,
    cgroup: Vec<PathBuf>,
) -> Result<RunOrder, String> {
    let spec = &order.spec;
    if !spec.work_dir.starts_with('/') {
        return Err(format!("the working directory {:?} is not an absolute path", spec.work_dir));
    }
    let name = &node.names.node;
    let path = |pattern: &String| PathBuf::from(env::expand_pattern(pattern, order, name));
    let argv = std::iter::once(spec.name.clone()).chain(spec.args.iter().cloned()).collect();
    let mut run = RunOrder::new(order.run.0, argv, spec.work_dir.clone(), path(&spec.output));
    run.job =
        order.task.map_or_else(|| order.job.to_string(), |task| format!("{}_{task}", order.job));
    run.job_name.clone_from(&spec.name);
    run.script_path = script;
    run.env = env::of_run(order, environment, &node.names);
    run.stderr = spec.error.as_ref().map(path);
    run.stdin = spec.input.as_ref().map(path);
    (run.open_mode, run.append_line) = opening(order, name);
    run.make_dirs = spec.make_output_dirs;
    run.tmp_fallback = spec.tmp_fallback;
    run.identity = identity(&order.user, node.uid)?;
    run.umask = spec.umask.unwrap_or(run.umask);
    run.soft_limits.clone_from(&spec.soft_limits);
    if let Some(files) = node.soft_files
        && !spec.soft_limits.iter().any(|(name, _)| name == "nofile")
    {
        run.soft_limits.push(("nofile".to_owned(), Some(files)));
    }
    run.time_limit_ms = order.time_limit_ms.map(|limit| limit.0);
    run.term_grace_ms = order.term_grace_ms.0;
    run.warn_signal = spec.warn_signal.map(|warn| WarnSignal {
        signal: warn.signal.0,
        before_ms: warn.before_ms.0,
        // As sbatch: the steps hear it, the batch shell only if it is asked for.
        target: if warn.batch_only { Target::Batch } else { Target::Steps },
    });
    run.tmp_parent = Some(node.scratch.clone());
    run.pid_names = vec![env::TASK_PID.to_owned()];
    if let Some(socket) = &node.client_socket {
        run.env.push(("PCLUSTER_SOCKET".to_owned(), socket.display().to_string()));
    }
    let image = node.image_dir.as_deref();
    let of_image = image.map(|dir| dir.join("bin")).filter(|bin| bin.is_dir());
    run.path_prepend = node.commands.iter().cloned().chain(of_image).collect();
    run.profile = profile(order.profile.as_deref(), image);
    run.step_daemon = vec![node.agent.display().to_string(), "stepd".to_owned()];
    run.only_steps = only_steps(order);
    run.notices = (!run.only_steps).then(|| Notices {
        job: order.raw_job.to_string(),
        node: name.clone(),
        utc_offset_s: node.utc_offset_s,
    });
    run.cgroup = (!cgroup.is_empty()).then_some(CgroupOrder { dirs: cgroup });
    run.boot_id = Some(node.boot_id.clone());
    Ok(run)
}

/// The order's own profile, else the image's.
fn profile(asked: Option<&str>, image: Option<&Path>) -> Option<PathBuf> {
    let of_image = || image.map(|dir| dir.join("profile")).filter(|path| path.is_file());
    asked.map(PathBuf::from).or_else(of_image)
}

fn opening(order: &StartOrder, node: &str) -> (OpenMode, Option<String>) {
    match order.spec.open_mode {
        job::OpenMode::Truncate => (OpenMode::Truncate, None),
        job::OpenMode::Append => (OpenMode::Append, None),
        job::OpenMode::AppendOnRequeue if order.attempt <= 1 => (OpenMode::Truncate, None),
        job::OpenMode::AppendOnRequeue => {
            let line = format!("--- pcluster: attempt {} on {node} ---", order.attempt);
            (OpenMode::Append, Some(line))
        }
    }
}

/// Without root there is one user, and it is not switched to.
fn identity(user: &UserIdentity, own: u32) -> Result<Option<Identity>, String> {
    if own == 0 {
        return Ok(Some(Identity {
            user: user.name.clone(),
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
        }));
    }
    if user.uid == own {
        return Ok(None);
    }
    Err(format!(
        "this node's agent runs as user {own} without root and cannot run jobs of {} ({})",
        user.name, user.uid
    ))
}

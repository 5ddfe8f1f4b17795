//! Submit: blobs are decoded, measured and stored; what only the head knows is checked; the answer
//! leaves after the commit.
use super::extract::Body;
use super::problem::{Failure, broken, odd};
use crate::app::AppState;
use axum::Json;
use axum::extract::{Extension, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pcluster_api::{
    MAX_ENVIRONMENT_BYTES, MAX_SCRIPT_BYTES, Problem, ProblemKind, SubmitRequest, SubmitResponse,
};
use pcluster_core::input::{Input, Principal, Request};
use pcluster_core::reply::Reply;
use pcluster_model::JobSpec;
use pcluster_model::config::Pool;
use pcluster_model::job::JobKind;
use pcluster_views::{self as views, Cx, estimate};

/// Names of jobs and idempotency keys at most, in bytes.
const NAME_BYTES: usize = 256;
/// Paths at most, in bytes: what the kernel takes.
const PATH_BYTES: usize = 4096;
/// Features and nodes that a job names at most.
const NAMES_MOST: usize = 4096;
/// A comment at most, in bytes.
const COMMENT_BYTES: usize = 4096;
/// All arguments of a script at most, in bytes: half of what `execve` takes.
const ARGUMENTS_BYTES: usize = 1 << 20;

fn refused(text: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Refused, text)
}

fn bad(text: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, text)
}

#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = SubmitRequest,
    responses((status = 200, body = SubmitResponse), (status = "4XX", body = Problem)))]
pub(super) async fn submit(
    State(app): State<AppState>,
    Extension(who): Extension<Principal>,
    Body(asked): Body<SubmitRequest>,
) -> Result<Json<SubmitResponse>, Failure> {
    let script = decoded(&asked.script_base64, "the script", MAX_SCRIPT_BYTES)?;
    let environment = decoded(&asked.environment_base64, "the environment", MAX_ENVIRONMENT_BYTES)?;
    let mut spec = asked.spec;
    match spec.kind {
        JobKind::Batch => check_script(&script)?,
        JobKind::Allocation => {}
    }
    if spec.output.is_empty() {
        spec.output = default_output(&asked.face, spec.array.is_some());
    }
    check_texts(&spec)?;
    check_key(asked.key.as_deref())?;
    check_rights(&who, &spec)?;
    spec.script = pcluster_upkeep::blobs::hash_of(&script);
    spec.environment = pcluster_upkeep::blobs::hash_of(&environment);

    let mut estimate = {
        let cluster = app.mirror.read();
        let cx = Cx { cluster: &cluster, now: app.clock.now(), reader: &who };
        if let Some(pool) = estimate::pool_of(&cx, &spec) {
            check_work_dir(&spec, pool)?;
        }
        estimate::of(&cx, &spec)
    };
    let name = spec.name.clone();
    let schema = views::schema("submit");
    let request = Request::Submit { spec: Box::new(spec.clone()), key: asked.key };
    let input = Input::Request { principal: who.clone(), request };
    // The same decision as in the loop, on the readers' copy; nothing comes of it. What is refused
    // anyhow leaves no script on the disk.
    let reply = app.mirror.read().decide(app.clock.now(), input.clone()).reply;
    match reply {
        Reply::Rejected(rejection) => return Err(rejection.into()),
        Reply::Submitted { job, repeated: true } if !asked.estimate_only => {
            estimate.output = estimate::output_of(&spec, Some(job), who.user.as_str());
            return Ok(Json(SubmitResponse { schema, job: job.0, repeated: true, name, estimate }));
        }
        _ => {}
    }
    if asked.estimate_only {
        return Ok(Json(SubmitResponse { schema, job: 0, repeated: false, name, estimate }));
    }
    if let Some(rejection) = app.submit.refuse_on_full_disk(&input) {
        return Err(rejection.into());
    }
    let blobs = app.blobs.clone();
    tokio::task::spawn_blocking(move || blobs.put(&script).and_then(|_| blobs.put(&environment)))
        .await
        .map_err(|error| broken("keep the script", &error))?
        .map_err(|error| broken("keep the script", &error))?;
    match app.submit.ask(input).await? {
        Reply::Submitted { job, repeated } => {
            estimate.output = estimate::output_of(&spec, Some(job), who.user.as_str());
            Ok(Json(SubmitResponse { schema, job: job.0, repeated, name, estimate }))
        }
        Reply::Rejected(rejection) => Err(rejection.into()),
        other => Err(odd(&other)),
    }
}

fn decoded(text: &str, what: &str, most: usize) -> Result<Vec<u8>, Problem> {
    let bytes = STANDARD.decode(text).map_err(|_| bad(format!("{what} is not base64")))?;
    if bytes.len() > most {
        let problem = refused(format!("{what} is too large"))
            .fact("size", format!("{} KB", bytes.len() >> 10))
            .fact("at most", format!("{} KB", most >> 10));
        return Err(problem);
    }
    Ok(bytes)
}

/// A script starts with `#!` and has no line ends of another system; clients say so with more help.
fn check_script(script: &[u8]) -> Result<(), Problem> {
    if script.is_empty() {
        return Err(refused("the script is empty"));
    }
    if !script.starts_with(b"#!") {
        return Err(refused("the script has no first line that names its interpreter")
            .hint("put this line first:  #!/bin/bash"));
    }
    let first = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.ends_with(b"\r") {
        return Err(refused("the script has the line ends of Windows (CRLF)")
            .hint("sed -i 's/\\r$//' SCRIPT"));
    }
    Ok(())
}

fn default_output(face: &str, array: bool) -> String {
    let stem = if face == "sbatch" { "slurm" } else { "pcluster" };
    if array { format!("{stem}-%A_%a.out") } else { format!("{stem}-%j.out") }
}

/// Texts are bounded, and what becomes a path or a line of a log cannot end one.
pub(super) fn check_texts(spec: &JobSpec) -> Result<(), Problem> {
    let one_line = |what: &str, text: &str, most: usize| {
        if text.len() > most {
            return Err(bad(format!(
                "{what} is {} bytes long; at most {most} are taken",
                text.len()
            )));
        }
        if text.chars().any(|letter| matches!(letter, '\0' | '\n' | '\r')) {
            return Err(bad(format!("{what} may not hold a line end or a zero byte")));
        }
        Ok(())
    };
    if spec.name.is_empty() {
        return Err(bad("the job has no name").hint("--job-name NAME"));
    }
    one_line("the name", &spec.name, NAME_BYTES)?;
    one_line("the account", &spec.account, NAME_BYTES)?;
    one_line("the working directory", &spec.work_dir, PATH_BYTES)?;
    one_line("the output", &spec.output, PATH_BYTES)?;
    one_line("the error output", spec.error.as_deref().unwrap_or_default(), PATH_BYTES)?;
    one_line("the input", spec.input.as_deref().unwrap_or_default(), PATH_BYTES)?;
    one_line("the label of quality", &spec.qos, NAME_BYTES)?;
    one_line("the path of the script", &spec.command, PATH_BYTES)?;
    one_line("the name of this machine", &spec.submit_host, NAME_BYTES)?;
    let features = || spec.features.iter().chain(spec.feature_choices.iter().flatten());
    for name in features().chain(&spec.only_nodes).chain(&spec.not_nodes) {
        one_line("a feature or the name of a node", name, NAME_BYTES)?;
    }
    if spec.feature_choices.iter().any(Vec::is_empty) {
        return Err(bad("a choice of features names none"));
    }
    if features().count() + spec.only_nodes.len() + spec.not_nodes.len() > NAMES_MOST {
        return Err(bad(format!("a job names at most {NAMES_MOST} features and nodes")));
    }
    let is_long = |text: &String| text.len() > COMMENT_BYTES || text.contains('\0');
    if is_long(&spec.comment) || is_long(&spec.submit_line) {
        return Err(bad(format!("a comment has at most {COMMENT_BYTES} bytes, and no zero byte")));
    }
    if !spec.work_dir.starts_with('/') {
        return Err(bad(format!("the working directory `{}` is not absolute", spec.work_dir)));
    }
    let arguments: usize = spec.args.iter().map(|argument| argument.len() + 1).sum();
    if arguments > ARGUMENTS_BYTES || spec.args.iter().any(|argument| argument.contains('\0')) {
        return Err(bad(format!(
            "the arguments have at most {ARGUMENTS_BYTES} bytes, and no zero byte"
        )));
    }
    if spec.nodes == 0 || spec.tasks == 0 || spec.cpus_per_task == 0 {
        return Err(bad("a job has at least 1 node, 1 task and 1 CPU per task"));
    }
    Ok(())
}

fn check_key(key: Option<&str>) -> Result<(), Problem> {
    match key {
        Some(key) if key.is_empty() || key.len() > NAME_BYTES => {
            Err(bad(format!("a key has 1 to {NAME_BYTES} bytes")))
        }
        _ => Ok(()),
    }
}

fn check_rights(who: &Principal, spec: &JobSpec) -> Result<(), Problem> {
    if spec.priority > 0 && !who.admin {
        let text = "only an admin gives a job a priority above 0";
        return Err(
            Problem::new(ProblemKind::NotAllowed, text).fact("asked", spec.priority.to_string())
        );
    }
    Ok(())
}

/// A directory that the pool's nodes cannot see is refused: nothing is ever copied there.
pub(super) fn check_work_dir(spec: &JobSpec, pool: &Pool) -> Result<(), Problem> {
    let wanted = tidied(&spec.work_dir);
    let sees = |share: &str| {
        let share = share.trim_end_matches('/');
        wanted == share || wanted.strip_prefix(share).is_some_and(|rest| rest.starts_with('/'))
    };
    if pool.shares.iter().any(|share| sees(&share.path)) {
        return Ok(());
    }
    let paths: Vec<&str> = pool.shares.iter().map(|share| share.path.as_str()).collect();
    let shared = if paths.is_empty() { "nothing".into() } else { paths.join(", ") };
    let problem = refused(format!("the nodes cannot see {wanted}"))
        .fact("shared", format!("{shared}  (storage of pool {})", pool.name));
    Err(match paths.first() {
        Some(path) => problem
            .hint(format!("move the project below {path}, or run it there:  --chdir {path}/…")),
        None => {
            problem.hint("an admin must name a shared path:  storage = { shared = \"/shared\" }")
        }
    })
}

/// An absolute path without `.`, `..` and doubled slashes, by its letters only.
fn tidied(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

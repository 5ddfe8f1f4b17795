//! Which cluster is meant: the file, its name, and the socket of its head, here or where this user has connected to.
//!
//! Invariant: the places are tried in the documented order and the first file found decides; every
//! place looked at is remembered, so that a failure can say where. Deliberately absent: starting a
//! head (`commands::up`), and reading the rest of the file (`config_file`).
use crate::config_file;
use crate::failure::Failure;
use crate::known::{self, KnownHead};
use crate::placed::Placed;
use crate::submit::process::ProcessFacts;
use pcluster_api::client::Client;
use pcluster_api::places::{Places, Surroundings, file_beside, names_with_socket, root_socket};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The file's name in every place.
pub const FILE_NAME: &str = "cluster.toml";
const ROOT_CONFIG: &str = "/etc/pcluster";

/// Options of every command.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Global {
    /// The file of the cluster (default: the first cluster.toml found, see `pcluster help`)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PCLUSTER_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,
    /// The cluster's name, where several run on this machine
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "NAME",
        env = "PCLUSTER_CLUSTER",
        hide_env_values = true
    )]
    pub cluster: Option<String>,
    /// Write data as JSON with a documented schema
    #[arg(long, global = true)]
    pub json: bool,
}

/// On a node: where its agent listens for the commands of jobs. Set by the agent.
const SOCKET_VARIABLE: &str = "PCLUSTER_SOCKET";

impl Global {
    /// As a command line without any of these options.
    #[must_use]
    pub fn of_environment() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            config: set("PCLUSTER_CONFIG").map(PathBuf::from),
            cluster: set("PCLUSTER_CLUSTER").and_then(|name| name.into_string().ok()),
            json: false,
        }
    }
}

/// The surroundings of this process, with its user id.
#[must_use]
pub fn surroundings() -> Surroundings {
    Surroundings::of_process(rustix::process::geteuid().as_raw())
}

/// A `cluster.toml` and the places that were looked at before it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Absolute.
    pub file: Option<PathBuf>,
    pub looked: Vec<String>,
}

/// Looks for the file in the documented order.
///
/// # Errors
/// When a file named by `--config` or `PCLUSTER_CONFIG` is not there.
pub fn find_file(global: &Global, here: &Surroundings) -> Result<Found, Failure> {
    if let Some(given) = &global.config {
        let given = if given.is_dir() { given.join(FILE_NAME) } else { given.clone() };
        return match std::path::absolute(&given) {
            Ok(file) if file.is_file() => {
                Ok(Found { file: Some(tidied(&file)), looked: Vec::new() })
            }
            _ => Err(Failure::no_such(format!("there is no file {}", given.display()))
                .fact("asked by", "--config or PCLUSTER_CONFIG")
                .hint("pcluster init    writes a cluster.toml here")),
        };
    }
    let mut looked = Vec::new();
    let current = std::env::current_dir().unwrap_or_default();
    for folder in current.ancestors() {
        let file = folder.join(FILE_NAME);
        if file.is_file() {
            return Ok(Found { file: Some(file), looked });
        }
    }
    looked.push("./cluster.toml (none)".to_owned());
    let home = here.config_dir().map(|dir| (dir, "~/.config/pcluster/cluster.toml"));
    let system = (PathBuf::from(ROOT_CONFIG), "/etc/pcluster/cluster.toml");
    for (folder, shown) in home.into_iter().chain([system]) {
        let file = folder.join(FILE_NAME);
        if file.is_file() {
            return Ok(Found { file: Some(file), looked });
        }
        looked.push(format!("{shown} (none)"));
    }
    Ok(Found { file: None, looked })
}

fn tidied(file: &Path) -> PathBuf {
    // Symbolic links in the folder are resolved, so that one file is always named one way.
    let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, file.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => file.to_path_buf(),
    }
}

/// The file, or the failure that says where it was looked for.
///
/// # Errors
/// When there is none.
pub fn need_file(global: &Global, here: &Surroundings) -> Result<PathBuf, Failure> {
    let found = find_file(global, here)?;
    found.file.ok_or_else(|| {
        Failure::no_such("there is no cluster.toml")
            .fact("looked at", found.looked.join(", "))
            .hint("pcluster init    writes one here: a working cluster on this machine")
    })
}

/// The head of the cluster that is meant, known to accept connections.
#[derive(Debug, Clone)]
pub struct Head {
    pub client: Client,
    pub name: String,
}

/// Names as the file allows them; anything else could leave the folder of sockets.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 32 && name.chars().all(allowed)
}

/// The way that the agent of this node offers to the commands of its jobs. It wins over files that
/// lie about; who names a file, or another cluster than the job's, means that one.
fn relay(global: &Global) -> Option<Head> {
    let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    relay_of(global, text(SOCKET_VARIABLE)?, text("PCLUSTER_JOB_CLUSTER").unwrap_or_default())
}

fn relay_of(global: &Global, socket: String, name: String) -> Option<Head> {
    let other = global.cluster.as_ref().is_some_and(|asked| *asked != name);
    if other || global.config.is_some() {
        return None;
    }
    Some(Head { client: Client::new(PathBuf::from(socket)), name })
}

/// The head on another machine that is meant, if one is. A head of that name on this machine comes first.
///
/// # Errors
/// When several could be meant, and when what is remembered cannot be read.
pub fn elsewhere(global: &Global) -> Result<Option<KnownHead>, Failure> {
    let here = surroundings();
    if relay(global).is_some() {
        return Ok(None);
    }
    let name = match (&global.cluster, find_file(global, &here)?.file) {
        (Some(name), _) if !is_name(name) => return Ok(None),
        (Some(name), _) => name.clone(),
        // What is wrong with the file is said where the file is needed.
        (None, Some(file)) => match config_file::name_of(&file) {
            Ok(name) => name,
            Err(_) => return Ok(None),
        },
        (None, None) => return the_only_one(known::all(&here)?),
    };
    let is_here = here.places(&name)?.socket.exists() || root_socket(&name).exists();
    if is_here { Ok(None) } else { known::find(&here, &name) }
}

fn the_only_one(mut heads: Vec<KnownHead>) -> Result<Option<KnownHead>, Failure> {
    if heads.len() < 2 {
        return Ok(heads.pop());
    }
    let names: Vec<&str> = heads.iter().map(|head| head.name.as_str()).collect();
    Err(Failure::usage("several clusters could be meant")
        .fact("connected", names.join(", "))
        .hint(format!("pcluster -C {} ...", names[0]))
        .hint(format!("export PCLUSTER_CLUSTER={}", names[0])))
}

/// The facts of this process as a job of that cluster takes them over: on another machine, jobs run
/// at home, and nothing of this login goes along by itself.
///
/// # Errors
/// As [`elsewhere`].
pub fn facts_for(global: &Global, facts: &ProcessFacts) -> Result<ProcessFacts, Failure> {
    Ok(match elsewhere(global)? {
        Some(head) => ProcessFacts {
            work_dir: Some(head.home),
            umask: None,
            soft_limits: Vec::new(),
            is_elsewhere: true,
        },
        None => facts.clone(),
    })
}

/// Finds the head that commands speak to.
///
/// # Errors
/// When there is no file and no name, or nothing answers; the failure says where it looked.
pub fn head(global: &Global) -> Result<Head, Failure> {
    let here = surroundings();
    if let Some(head) = relay(global) {
        return Ok(head);
    }
    if let Some(known) = elsewhere(global)? {
        let client = known.client();
        let again = "pcluster up    lets this machine in again if its address has changed, and mends the head";
        let client = match Placed::find(&here, &known.name)? {
            Some(_) => client.map_err(|failure| failure.hint(again))?,
            None => client?,
        };
        return Ok(Head { client, name: known.name });
    }
    if let Some(name) = &global.cluster {
        if !is_name(name) {
            return Err(Failure::usage(format!("`{name}` is not the name of a cluster"))
                .fact("allowed", "a-z, 0-9 and -, at most 32 of them")
                .hint("the file is named by --config FILE"));
        }
        return answering(&here, name, None, Vec::new());
    }
    let found = find_file(global, &here)?;
    let Some(file) = found.file else {
        return Err(no_head(&here, found.looked)
            .hint("pcluster init       write a cluster.toml first: this machine as a cluster"));
    };
    let name = config_file::name_of(&file)?;
    answering(&here, &name, Some(&file), found.looked)
}

/// The head of a name must be the one of this very file: two folders may be called alike.
///
/// # Errors
/// When it was started with another one.
pub fn same_file(name: &str, its: &str, file: &Path) -> Result<(), Failure> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if Path::new(its) == file || real(Path::new(its)) == real(file) {
        return Ok(());
    }
    Err(Failure::refused(format!("a cluster called {name} runs here already"))
        .fact("its file", its.to_owned())
        .fact("this file", file.display().to_string())
        .hint("give this one a name of its own, as its first line:  name = \"…\""))
}

/// The first candidate that accepts a connection.
fn answering(
    here: &Surroundings,
    name: &str,
    file: Option<&Path>,
    mut looked: Vec<String>,
) -> Result<Head, Failure> {
    let places = here.places(name)?;
    places.check()?;
    let mut reasons = Vec::new();
    for socket in candidates(here, name, file, &places) {
        match UnixStream::connect(&socket) {
            Ok(_) => {
                let its = std::fs::read_to_string(file_beside(&socket)).ok();
                if let (Some(its), Some(file)) = (its, file) {
                    same_file(name, &its, file)?;
                }
                return Ok(Head { client: Client::new(socket), name: name.to_owned() });
            }
            Err(error) => reasons.push(format!("{}: {}", socket.display(), said(&error))),
        }
    }
    let why = reasons.join(", ");
    looked.push(match file {
        Some(file) => format!("{} ({name}): {why}", file.display()),
        None => format!("the cluster {name}: {why}"),
    });
    Err(no_head(here, looked))
}

/// Our own head first. Root's serves everybody, and is meant where the file is not this user's.
fn candidates(
    here: &Surroundings,
    name: &str,
    file: Option<&Path>,
    places: &Places,
) -> Vec<PathBuf> {
    let mut sockets = vec![places.socket.clone()];
    let others_file = match file {
        None => true,
        Some(file) => std::fs::metadata(file).is_ok_and(|seen| seen.uid() != here.uid),
    };
    if here.uid != 0 && others_file && here.runtime_override.is_none() {
        sockets.push(root_socket(name));
    }
    sockets
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not there".to_owned(),
        io::ErrorKind::ConnectionRefused => "refuses".to_owned(),
        io::ErrorKind::PermissionDenied => "not yours".to_owned(),
        _ => error.to_string(),
    }
}

fn no_head(here: &Surroundings, looked: Vec<String>) -> Failure {
    let mut failure = Failure::no_head("no head answers");
    let last = looked.len().saturating_sub(1);
    for (at, place) in looked.into_iter().enumerate() {
        let label = if at == 0 { "looked at" } else { "" };
        failure = failure.fact(label, if at == last { place } else { format!("{place},") });
    }
    let parent = here.runtime_parent();
    let answers = |name: &String| UnixStream::connect(parent.join(name).join("head.sock")).is_ok();
    for name in names_with_socket(&parent).into_iter().filter(answers).take(3) {
        failure =
            failure.hint(format!("pcluster -C {name} ...    a cluster of yours that runs here"));
    }
    failure
        .hint("pcluster up         start it here")
        .hint("pcluster connect USER@HEAD    use one that runs elsewhere")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_the_folder_of_sockets() {
        assert!(is_name("genomics-2"));
        for bad in ["", "../x", "a/b", "A", "x.y", &"a".repeat(33)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn on_a_node_its_agent_is_the_way_unless_another_cluster_is_meant() {
        let relayed = |cluster: Option<&str>, config: Option<&str>| {
            let global = Global {
                cluster: cluster.map(str::to_owned),
                config: config.map(PathBuf::from),
                json: false,
            };
            relay_of(&global, "/s".into(), "lab".into()).is_some()
        };
        assert!(relayed(None, None) && relayed(Some("lab"), None));
        assert!(!relayed(Some("other"), None) && !relayed(None, Some("/x/cluster.toml")));
    }

    #[test]
    fn only_somebody_elses_file_leads_to_roots_head() {
        let here = Surroundings { uid: 4242, home: Some("/h".into()), ..Default::default() };
        let places = here.places("lab").unwrap();
        let roots = candidates(&here, "lab", Some(Path::new("/etc/passwd")), &places);
        assert_eq!(roots.last(), Some(&root_socket("lab")));
        let own = Surroundings { uid: 0, ..here };
        assert_eq!(candidates(&own, "lab", Some(Path::new("/etc/passwd")), &places).len(), 1);
    }
}

//! An agent of another version than its head's, baked into an image, becomes the head's before it takes a job.
//!
//! Invariant: the programs of a node are replaced together, in a folder of their own below the node's
//! directory, and only by files that have the hash which the launch order or the head's welcome names. An agent
//! that cannot become the head's says so and goes on as it is; what was tried in vain three times is not tried
//! again. Deliberately absent: touching the files of the image.
use crate::bootlog::BootLog;
use crate::node_dir::NodeDir;
use crate::tls::Dialer;
use crate::{identity, programs};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use pcluster_model::BlobHash;
use pcluster_wire::{
    JoinOrder, NODE_HEADER, NODE_PROGRAMS, Program, Programs, TOKEN_HEADER, program_path,
};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Downloads, and starts of a version that never reached the head.
const TRIES: u32 = 3;
/// A program that does not come within this does not come.
const PATIENCE: Duration = Duration::from_secs(120);
const ARCH: &str = std::env::consts::ARCH;
/// What the head said last, in the node's directory.
const TOLD: &str = "programs.json";
/// How often the version in it was started, until it has reached the head.
const STARTS: &str = "programs-starts.json";
/// How often it could not be had.
const FAILED: &str = "programs-failed.json";
/// For the program that takes over: it does not look for another.
const REPLACED: &str = "PCLUSTER_AGENT_REPLACED";

/// Becomes the head's version; comes back where that is what runs, or cannot be had.
pub fn at_start(dir: &NodeDir, join: &JoinOrder, name: &str, log: &mut BootLog) {
    let Some(wanted) = wanted(dir, join) else { return };
    if std::env::var_os(REPLACED).is_some() {
        log.line("its programs are from the head");
    }
    if is_own(&wanted) {
        return;
    }
    let (own, new) = (env!("CARGO_PKG_VERSION"), &wanted.version);
    let error = match become_it(dir, join, name, &wanted, log) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let failed = tried(dir, FAILED, &key(&wanted)) + 1;
    drop(dir.write(FAILED, &(key(&wanted), failed)));
    log.line(&format!(
        "this agent ({own}) cannot become the head's ({new}) and goes on: {error:#}"
    ));
}

/// Remembers what the head offers; true when this agent is to end, to become it.
pub fn told(dir: &NodeDir, join: &JoinOrder, offered: &[Programs]) -> bool {
    // It has reached the head.
    drop(fs::remove_file(dir.file(STARTS)));
    let of = |all: &[Programs]| all.iter().find(|set| set.arch == ARCH).cloned();
    let Some(new) = of(offered) else { return false };
    if wanted(dir, join).is_some_and(|known| known.files == new.files) {
        // The head may have been away when it was asked for them.
        return (1..TRIES).contains(&tried(dir, FAILED, &key(&new))) && !is_own(&new);
    }
    if is_own(&new) {
        return false;
    }
    dir.write(TOLD, &vec![new]).is_ok()
}

fn wanted(dir: &NodeDir, join: &JoinOrder) -> Option<Programs> {
    let told: Option<Vec<Programs>> = dir.read(TOLD).ok().flatten();
    let all = told.unwrap_or_else(|| join.programs.clone());
    // Names become files: only those that a node has.
    let is_whole = |set: &Programs| {
        let names: Vec<&str> = set.files.iter().map(|file| file.name.as_str()).collect();
        names == NODE_PROGRAMS
    };
    all.into_iter().find(|set| set.arch == ARCH && is_whole(set))
}

/// True when the programs that run have these hashes.
fn is_own(wanted: &Programs) -> bool {
    let Some(folder) = programs::current().ok().and_then(|own| Some(own.parent()?.to_owned()))
    else {
        return false;
    };
    // An installation has the command elsewhere, and a link to it.
    wanted.files.iter().all(|file| {
        let places = [folder.join(&file.name), folder.join("slurm").join(&file.name)];
        places.iter().any(|place| holds(place, file))
    })
}

fn holds(path: &Path, file: &Program) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == file.bytes)
        && hash(path).is_ok_and(|hash| hash == file.sha256)
}

fn hash(path: &Path) -> std::io::Result<BlobHash> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(BlobHash(sum.finalize().into())),
            count => sum.update(&piece[..count]),
        }
    }
}

/// How often that was done with this set.
fn tried(dir: &NodeDir, file: &str, key: &str) -> u32 {
    match dir.read::<(String, u32)>(file) {
        Ok(Some((of, count))) if of == key => count,
        Ok(_) | Err(_) => 0,
    }
}

/// Of a set of programs: a name for its folder.
fn key(wanted: &Programs) -> String {
    let mut sum = Sha256::new();
    wanted.files.iter().for_each(|file| sum.update(file.sha256.0));
    BlobHash(sum.finalize().into()).to_string()[..16].to_owned()
}

fn become_it(
    dir: &NodeDir,
    join: &JoinOrder,
    name: &str,
    wanted: &Programs,
    log: &mut BootLog,
) -> Result<std::convert::Infallible> {
    let key = key(wanted);
    if std::env::var_os(REPLACED).is_some_and(|known| *known == *key) {
        bail!("it was started, and is not what the head has");
    }
    ensure!(tried(dir, FAILED, &key) < TRIES, "that was tried {TRIES} times");
    let starts = tried(dir, STARTS, &key);
    ensure!(starts < TRIES, "it was started {starts} times and did not reach the head");
    let folder = dir.folder("programs").context("no folder for it")?.join(&key);
    if !wanted.files.iter().all(|file| holds(&folder.join(&file.name), file)) {
        log.phase("programs", &format!("taking version {} from the head", wanted.version));
        fetch_all(dir, join, name, wanted, &folder)?;
    }
    let agent = folder.join("pcluster-agent");
    // One that was built for other libraries would end here, and not with the node.
    let tried = Command::new(&agent).arg("--version").stdin(Stdio::null()).output();
    let tried =
        tried.map_err(|error| anyhow!("it cannot be started: {}", crate::cage::plain(&error)))?;
    ensure!(tried.status.success(), "it does not work here: {}", tried.status);
    if dir.runs().is_empty() {
        forget_others(&folder);
    }
    dir.write(STARTS, &(key.clone(), starts + 1))
        .context("cannot write down that it is started")?;
    log.line(&format!("becoming version {}", wanted.version));
    let error = Command::new(&agent).arg("run").arg(dir.path()).env(REPLACED, &key).exec();
    Err(anyhow!("it cannot be started: {}", crate::cage::plain(&error)))
}

/// Versions of before; keepers that run have theirs open.
fn forget_others(folder: &Path) {
    let others = folder.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    for other in others.map(|entry| entry.path()).filter(|path| path != folder) {
        drop(fs::remove_dir_all(other));
    }
}

fn fetch_all(
    dir: &NodeDir,
    join: &JoinOrder,
    name: &str,
    wanted: &Programs,
    folder: &Path,
) -> Result<()> {
    let identity = identity::load(dir, name)?;
    let dialer = Dialer::new(&join.head_key_sha256, &identity)?;
    let draft = folder.with_extension("new");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut last = anyhow!("no address of the head is known");
    for turn in 0..TRIES {
        for address in &join.head_addresses {
            drop(fs::remove_dir_all(&draft));
            fs::create_dir(&draft).context("no folder for it")?;
            let fetched = runtime.block_on(async {
                for file in &wanted.files {
                    let one = fetch(&dialer, address, join, file, draft.join(&file.name));
                    let waited = tokio::time::timeout(PATIENCE, one).await;
                    waited.map_err(|_| anyhow!("{} does not come", file.name))??;
                }
                Ok::<(), anyhow::Error>(())
            });
            match fetched {
                Ok(()) => {
                    drop(fs::remove_dir_all(folder));
                    return fs::rename(&draft, folder).context("cannot put it in its place");
                }
                Err(error) => last = error.context(format!("the head at {address}")),
            }
        }
        if turn + 1 < TRIES {
            std::thread::sleep(Duration::from_secs(1 << turn));
        }
    }
    drop(fs::remove_dir_all(&draft));
    Err(last)
}

async fn fetch(
    dialer: &Dialer,
    address: &str,
    join: &JoinOrder,
    file: &Program,
    to: PathBuf,
) -> Result<()> {
    let stream = dialer.dial(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(program_path(file.sha256))
        .header(HOST, "pcluster-head")
        .header(NODE_HEADER, join.node.to_string())
        .header(TOKEN_HEADER, &join.token)
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    ensure!(answer.status() == StatusCode::OK, "it answers {}", answer.status());
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o755).open(to)?;
    let (mut sum, mut bytes) = (Sha256::new(), 0);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        bytes += piece.len() as u64;
        ensure!(bytes <= file.bytes, "{} is larger than it was said to be", file.name);
        sum.update(&piece);
        out.write_all(&piece)?;
    }
    driver.abort();
    let hash = BlobHash(sum.finalize().into());
    ensure!(hash == file.sha256, "what it sent is not {}", file.name);
    Ok(out.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(version: &str, text: &str) -> Programs {
        let of = |name: &&str| Program {
            name: (*name).to_owned(),
            sha256: BlobHash(Sha256::digest(format!("{text} {name}")).into()),
            bytes: (text.len() + 1 + name.len()) as u64,
        };
        Programs {
            arch: ARCH.into(),
            version: version.into(),
            files: NODE_PROGRAMS.iter().map(of).collect(),
        }
    }

    #[test]
    fn a_set_is_known_by_all_its_programs() {
        let folder = std::env::temp_dir().join(format!("pcluster-upgrade-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (one, two) = (set("1", "one"), set("2", "two"));
        assert_ne!(key(&one), key(&two));
        let path = folder.join("pcluster-agent");
        fs::write(&path, "one pcluster-agent").unwrap();
        assert!(holds(&path, &one.files[0]) && !holds(&path, &two.files[0]));
        fs::write(&path, "0ne pcluster-agent").unwrap();
        assert!(!holds(&path, &one.files[0]), "as long, and another");
        assert!(!is_own(&one), "the test is not an agent");
        // What the head said last counts for more than the order, and only a whole set does.
        let dir = NodeDir::open(&folder).unwrap();
        let join = |programs| JoinOrder { programs, ..order() };
        assert_eq!(wanted(&dir, &join(vec![one.clone()])), Some(one.clone()));
        let mut odd = one.clone();
        odd.files[0].name = "../../etc/passwd".into();
        assert_eq!(wanted(&dir, &join(vec![odd])), None);
        let foreign = Programs { arch: "other".into(), ..one.clone() };
        assert_eq!(wanted(&dir, &join(vec![foreign])), None);
        let again = || told(&dir, &join(vec![one.clone()]), std::slice::from_ref(&one));
        assert!(!again(), "known, and nothing was tried in vain");
        for (failed, once_more) in [(1, true), (2, true), (3, false)] {
            dir.write(FAILED, &(key(&one), failed)).unwrap();
            assert_eq!(again(), once_more, "{failed}");
        }
        assert!(told(&dir, &join(vec![one.clone()]), std::slice::from_ref(&two)));
        assert_eq!(wanted(&dir, &join(vec![one])), Some(two.clone()));
        assert!(!told(&dir, &join(vec![]), &[two]));
        fs::remove_dir_all(&folder).unwrap();
    }

    fn order() -> JoinOrder {
        let text = format!(
            r#"{{"cluster":"c","cluster_name":"c","node":"1.0","node_name":"n","instance":"","head_addresses":[],
                "head_key_sha256":"{}","token":"","state_dir":"","orphan_after_ms":1,"report_hold_ms":1,"on_orphan":"exit"}}"#,
            "0".repeat(64)
        );
        serde_json::from_str(&text).unwrap()
    }
}

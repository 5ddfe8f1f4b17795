//! This machine: the programs of the installation, who runs them, memory, disk, clock, open files.
use crate::{free_at, plain, size};
use pcluster_api::{Finding, Topic};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

const TOPIC: Topic = Topic::Machine;
/// Programs beside the head's, without which no node becomes one. The command may lie elsewhere.
const BESIDE: [&str; 2] = ["pcluster-agent", "pcluster-keeper"];
/// Less free memory than this and the head itself is in danger, in bytes.
const LOW_MEMORY: u64 = 128 << 20;

/// What is looked at.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The folder of the head's program.
    pub programs: PathBuf,
    /// Of this program.
    pub version: &'static str,
    pub state_dir: PathBuf,
    /// With less free disk new jobs are refused, in bytes.
    pub low_disk_bytes: u64,
    /// Open files that a full head needs.
    pub files: u64,
}

/// Everything about it.
#[must_use]
pub fn machine(machine: &Machine) -> Vec<Finding> {
    let mut found = programs(machine);
    found.push(user());
    found.extend(memory());
    found.extend(disks(machine));
    found.push(clock());
    found.push(files(machine.files));
    found
}

/// All of one version, or the first step of many troubles.
fn programs(machine: &Machine) -> Vec<Finding> {
    let help = "scripts/install    installs all programs of one version";
    let wrong = |name: &str| {
        let path = machine.programs.join(name);
        let odd =
            |what: String, why: &str| Some(Finding::attention(TOPIC, what).why(why).hint(help));
        let no_node = "a node needs it to take a job";
        if !path.is_file() {
            return odd(format!("there is no {name} in {}", machine.programs.display()), no_node);
        }
        match version_of(&path) {
            Err(why) => odd(format!("{} cannot be run: {why}", path.display()), no_node),
            Ok(version) if version != machine.version => {
                let what = format!("{} is of version {version}", path.display());
                odd(what, &format!("pcluster-headnode beside it is {}", machine.version))
            }
            Ok(_) => None,
        }
    };
    let found: Vec<Finding> = BESIDE.into_iter().filter_map(wrong).collect();
    if !found.is_empty() {
        return found;
    }
    let folder = machine.programs.display();
    vec![Finding::ok(
        TOPIC,
        format!("the programs in {folder} are all of version {}", machine.version),
    )]
}

/// `pcluster-agent 0.1.0` → `0.1.0`.
fn version_of(program: &Path) -> Result<String, String> {
    let mut command = Command::new(program);
    let said = command.arg("--version").stdin(Stdio::null()).output();
    let said = said.map_err(|error| plain(&error))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    if !said.status.success() || version.is_empty() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Err(why.lines().next().unwrap_or("it does not say its version").to_owned());
    }
    Ok(version.to_owned())
}

fn user() -> Finding {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Finding::ok(TOPIC, "the head runs as root, for all users");
    }
    Finding::note(TOPIC, format!("the head runs as user {} and serves nobody else", uid.as_raw()))
        .why("without root there are no bridges, no images of Debian, and no names of nodes in /etc/hosts")
}

/// `MemAvailable` and its like, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

fn memory() -> Option<Finding> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let (all, free) = (meminfo(&text, "MemTotal")?, meminfo(&text, "MemAvailable")?);
    let what = format!("{} of {} of memory are free", size(free), size(all));
    if free >= LOW_MEMORY {
        return Some(Finding::ok(TOPIC, what));
    }
    let found = Finding::attention(TOPIC, what).why("the kernel ends processes when there is none");
    Some(found.hint("ps --sort -rss -eo rss,pid,user,args | head    shows what has it"))
}

/// The disks of the state and of temporary files.
fn disks(machine: &Machine) -> Vec<Finding> {
    let temp = std::env::temp_dir();
    let of = |path: &Path, what_for: &str, low: u64, why: &str| {
        let free = free_at(path)?;
        let what = format!("{} free in {} for {what_for}", size(free), path.display());
        Some(if free >= low {
            Finding::ok(TOPIC, what)
        } else {
            let hint = format!("du -xh {} | sort -h | tail    shows what is large", path.display());
            Finding::attention(TOPIC, what).why(why).hint(hint)
        })
    };
    let low = machine.low_disk_bytes;
    let refused = format!("with less than {} free new jobs are refused", size(low));
    let state = of(&machine.state_dir, "the state", low, &refused);
    let temp = of(&temp, "temporary files", 64 << 20, "jobs and commands write there");
    state.into_iter().chain(temp).collect()
}

/// A clock that is far off makes nodes fail to boot. What keeps it right is asked where it answers.
fn clock() -> Finding {
    let made = std::env::current_exe().and_then(|own| own.metadata()?.modified());
    if made.is_ok_and(|made| made > SystemTime::now()) {
        return Finding::attention(TOPIC, "the clock is before the day this program was installed")
            .why("a node whose clock is more than 5 min from the head's fails to boot; bills are wrong")
            .hint("apt install systemd-timesyncd    or: date -s 'YYYY-MM-DD HH:MM'");
    }
    let mut ask = Command::new("timedatectl");
    ask.args(["show", "-p", "NTPSynchronized", "--value"]).stdin(Stdio::null());
    let said = ask.output().ok().filter(|said| said.status.success());
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    match said.as_deref() {
        Some("yes") => Finding::ok(TOPIC, "the clock is kept right over the network"),
        Some("no") => Finding::note(TOPIC, "nothing keeps the clock right over the network")
            .why("a node whose clock is more than 5 min from the head's fails to boot")
            .hint("apt install systemd-timesyncd"),
        _ => Finding::ok(TOPIC, "the clock is not before the day this program was installed"),
    }
}

fn files(wanted: u64) -> Finding {
    let most = getrlimit(Resource::Nofile).maximum;
    match most {
        Some(most) if most < wanted => {
            let what = format!("at most {most} files may be open, a full head needs {wanted}");
            Finding::note(TOPIC, what)
                .why("each node and each command that waits is one connection")
                .hint(format!("LimitNOFILE={wanted} in the unit, or in /etc/security/limits.conf"))
        }
        _ => Finding::ok(TOPIC, format!("{wanted} files may be open")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_api::Level;

    fn here(programs: &Path) -> Machine {
        Machine {
            programs: programs.into(),
            version: "1.2.3",
            state_dir: std::env::temp_dir(),
            low_disk_bytes: 0,
            files: 1,
        }
    }

    fn program(folder: &Path, name: &str, version: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\necho {name} {version}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_program_that_is_missing_or_of_another_version_is_named_with_what_helps() {
        let folder = std::env::temp_dir().join(format!("pcc-programs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let said = || programs(&here(&folder));
        program(&folder, "pcluster-agent", "1.2.3");
        let found = said();
        assert!(found.len() == 1 && found[0].what.starts_with("there is no pcluster-keeper"));
        assert!(found[0].hints[0].starts_with("scripts/install"), "{found:?}");
        program(&folder, "pcluster-keeper", "1.2.2");
        assert!(said()[0].what.ends_with("pcluster-keeper is of version 1.2.2"), "{:?}", said());
        program(&folder, "pcluster-keeper", "1.2.3");
        assert_eq!(said()[0].level, Level::Ok);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_disk_with_too_little_is_told_with_what_happens_then() {
        let full = Machine { low_disk_bytes: u64::MAX, ..here(Path::new("/")) };
        let found = disks(&full);
        assert_eq!(found[0].level, Level::Attention);
        assert!(found[0].why.contains("new jobs are refused"), "{found:?}");
        assert_eq!(disks(&here(Path::new("/")))[0].level, Level::Ok);
    }

    #[test]
    fn limits_and_memory_are_read() {
        assert_eq!(files(u64::MAX - 1).level, Level::Note);
        assert_eq!(files(1).level, Level::Ok);
        let text = "MemTotal:       24000 kB\nMemAvailable:   12 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), Some(12 << 10));
        assert_eq!(meminfo(text, "Mem"), None);
    }
}

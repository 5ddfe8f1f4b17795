//! Which variables go along with a job: `--export`, `--export-file`, `--get-user-env`.
//!
//! Invariant: as in Slurm, `ALL` takes this environment; `NONE` and a list take the one of a fresh
//! login below what is named. Deliberately absent: what a node adds.
use super::spec::invalid;
use crate::options::Words;
use crate::people::Account;
use crate::refusal::Refusal;
use pcluster_client::submit::environment::records;
use pcluster_client::submit::process::ProcessFacts;
use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A login shell that takes longer is not waited for.
const LOGIN_WITHIN: Duration = Duration::from_secs(8);
/// Variables of a file at most.
const FILE_BYTES: u64 = 1 << 20;

type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// The records to send, and warnings.
///
/// # Errors
/// A word of `--export` that is none, a file that cannot be read, more than fits.
pub async fn of_job(
    words: &Words,
    command: &str,
    facts: &ProcessFacts,
) -> Result<(Vec<u8>, Vec<String>), Refusal> {
    let here: Variables = match words.value("export-file") {
        Some(file) => of_file(file)?,
        None => {
            std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect()
        }
    };
    let export = words.value("export").filter(|export| !export.is_empty()).or(facts.export());
    let all = export
        .is_none_or(|export| export.split(',').any(|word| word.trim().eq_ignore_ascii_case("all")));
    let refused = |failure| invalid(command, "export").because(&failure);
    let chosen = records(&here, export).map_err(refused)?;
    let chosen = with_export(&chosen, export.filter(|_| command == "sbatch"));
    // The login of another machine is not this one's.
    if facts.is_elsewhere || (all && !words.has("get-user-env")) {
        return Ok((chosen, Vec::new()));
    }
    let login = of_login(crate::people::own(), |name| std::env::var(name).ok());
    let (mut below, warnings) = match login.await {
        Some(login) => (login, Vec::new()),
        None => (
            Vec::new(),
            vec![format!(
                "{command}: warning: no environment of a login; the job gets only what is named"
            )],
        ),
    };
    let name_of = |record: &[u8]| record.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    let named: Vec<_> = chosen.split(|byte| *byte == 0).filter_map(name_of).collect();
    below.retain(|(name, _)| !named.contains(name));
    let mut all = records(&below, None).map_err(refused)?;
    all.extend(chosen);
    Ok((all, warnings))
}

/// The job is told what `--export` said, for the steps it starts, and not what it said for another.
fn with_export(records: &[u8], export: Option<&str>) -> Vec<u8> {
    const NAME: &[u8] = b"SLURM_EXPORT_ENV=";
    let kept =
        records.split_inclusive(|byte| *byte == 0).filter(|record| !record.starts_with(NAME));
    let mut all: Vec<u8> = kept.flatten().copied().collect();
    if let Some(export) = export {
        all.extend_from_slice(NAME);
        all.extend_from_slice(export.as_bytes());
        all.push(0);
    }
    all
}

fn pairs(bytes: &[u8]) -> Variables {
    let records = bytes.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    let split = records.filter_map(|record| {
        let at = record.iter().position(|byte| *byte == b'=')?;
        Some((record[..at].to_vec(), record[at + 1..].to_vec()))
    });
    split.collect()
}

/// `NAME=VALUE` records ended by NUL bytes, from a file or an open file descriptor.
fn of_file(file: &str) -> Result<Variables, Refusal> {
    let path = match file.parse::<RawFd>() {
        Ok(number) => format!("/dev/fd/{number}"),
        Err(_) => file.to_owned(),
    };
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(pairs(&bytes)),
        Err(error) => Err(invalid("sbatch", "export-file").hint(format!("{path}: {error}"))),
    }
}

/// What a fresh login of this user would have: of the account, not of this shell. Where the account
/// cannot be found out, its names are taken from here.
async fn of_login(
    account: Option<Account>,
    here: impl Fn(&str) -> Option<String>,
) -> Option<Variables> {
    let mut kept = ["HOME", "USER", "LOGNAME", "SHELL", "LANG"]
        .map(|name| (name, here(name).unwrap_or_default()));
    if let Some(Account { name, home, shell }) = account {
        for (at, value) in [home, name.clone(), name, shell].into_iter().enumerate() {
            kept[at].1 = value;
        }
    }
    let shell = kept[3].1.clone();
    let kept = kept.into_iter().filter(|(_, value)| !value.is_empty());
    let known = ["bash", "sh", "dash", "ksh", "zsh"];
    let is_known = known.iter().any(|name| shell.ends_with(&format!("/{name}")));
    let shell = if is_known { shell } else { "/bin/sh".to_owned() };
    let running = Command::new(shell)
        .args(["-l", "-c", "env -0"])
        .env_clear()
        .envs(kept)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LOGIN_WITHIN, running).await.ok()?.ok()?;
    // The last record of a shell that failed may be cut.
    if !output.status.success() {
        return None;
    }
    let unwanted = |name: &[u8]| [&b"_"[..], b"SHLVL", b"PWD", b"OLDPWD"].contains(&name);
    Some(pairs(&output.stdout).into_iter().filter(|(name, _)| !unwanted(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_its_own_export_and_no_others() {
        let inherited = b"A=1\0SLURM_EXPORT_ENV=NONE\0B=2\0";
        assert_eq!(with_export(inherited, None), b"A=1\0B=2\0");
        let own = with_export(inherited, Some("ALL,K=V"));
        assert_eq!(own, b"A=1\0B=2\0SLURM_EXPORT_ENV=ALL,K=V\0");
    }

    #[tokio::test]
    async fn a_login_is_that_of_the_account_and_not_of_this_shell() {
        let here = |name: &str| Some(format!("/not/{name}"));
        let account = Account { name: "ana".into(), home: "/tmp".into(), shell: "/bin/sh".into() };
        let found = of_login(Some(account), here).await.unwrap();
        let value = |name: &str| {
            let record = found.iter().find(|(known, _)| known == name.as_bytes());
            record.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(value("HOME").as_deref(), Some("/tmp"));
        assert_eq!(value("USER").as_deref(), Some("ana"));
        assert_eq!(value("LOGNAME").as_deref(), Some("ana"));
        assert_eq!(value("SHELL").as_deref(), Some("/bin/sh"));
        let found = of_login(None, |name| (name == "HOME").then(|| "/tmp".into())).await.unwrap();
        assert!(found.contains(&(b"HOME".to_vec(), b"/tmp".to_vec())));
    }
}

//! A head on a machine made for it: `up` places it there, `down` removes it.
//!
//! Invariant: nothing is made in an account before what it will be has been shown and agreed to, and before its id is
//! on this disk; whoever is interrupted anywhere calls the same command again. The head's own program speaks to the
//! account, because it holds the providers; what is done on the machine is `pcluster-bootstrap`'s. Deliberately
//! absent: what the head does once it answers.
use super::up::{find_head, say_up};
use crate::cluster::{Global, surroundings};
use crate::config_file::Loaded;
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::say;
use pcluster_api::{HeadMachineView, HeadRemovedView, HeadThereView, StatusView};
use pcluster_bootstrap::{BootstrapError, HeadPrograms, Wish, bootstrap, log_in};
use pcluster_client::known::{self, KnownHead};
use pcluster_client::placed::Placed;
use pcluster_config::check_summary;
use pcluster_model::config::{Config, Pool};
use pcluster_ssh::Target;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A head that has just said that it answers does so over SSH, too.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The head of that name, if this user has placed one.
///
/// # Errors
/// What is remembered and cannot be read.
pub(super) fn placed(name: &str) -> Result<Option<Placed>, Failure> {
    Placed::find(&surroundings(), name)
}

/// `up` of a file with `head.type`, where the head is not on this machine.
///
/// # Errors
/// A head that does not come up; what was made stays, and the next `up` goes on with it.
pub(super) async fn up(global: &Global, file: &Path, loaded: &Loaded, is_agreed: bool) -> Outcome {
    let here = surroundings();
    let config = crate::config_file::config(loaded)?;
    let name = &config.name;
    let known = known::find(&here, name)?;
    if let Some(known) = &known
        && let Some(status) = answering(known).await
    {
        return already_up(global, known, &status);
    }
    let programs = HeadPrograms::find(&folders()?).map_err(|error| failed(error.into()))?;
    let before = placed(name)?;
    may_be_placed(config, known.as_ref(), before.as_ref())?;
    let is_new = before.is_none();
    let user = std::env::var("USER").unwrap_or_default();
    let mine = match before {
        Some(before) => before,
        None => Placed::begin(&here, name, &config.ec2.region, &user)?,
    };
    let agreed = ask::<HeadThereView>(&mut place(file, &mine, &programs, "look")?)
        .and_then(|there| agree(config, &there, is_agreed));
    if agreed.is_err() && is_new {
        mine.forget(&here)?;
    }
    agreed?;
    let machine: HeadMachineView = ask(&mut place(file, &mine, &programs, "make")?)?;
    let head = remembered(&mine, &machine, known)?;
    head.save(&here)?;
    let target = head.target()?;
    say::line(format!("{}: waiting for {target} to let us in", machine.instance));
    let keys = known::keys(head.identity.as_deref());
    let link = log_in(&target, &head.host_key, &keys).await.map_err(failed)?;
    let exported: BTreeSet<&str> = config.pools.iter().flat_map(Pool::folders_of_head).collect();
    // People's homes outlive the machine whether or not nodes see them.
    let kept = exported.iter().copied().chain(["/home"]).collect::<BTreeSet<_>>();
    let wish = Wish {
        name: name.clone(),
        cluster: mine.cluster.clone(),
        account: mine.account.clone(),
        file: loaded.text.clone(),
        volume: machine.volume.clone(),
        folders: kept.into_iter().map(str::to_owned).collect(),
        exports: !exported.is_empty(),
    };
    bootstrap(&link, &wish, &programs, &|line| say::line(line)).await.map_err(failed)?;
    drop(link);
    let status = until_it_answers(&head).await?;
    if global.json {
        say::json(&status)?;
    } else {
        say_up(&status, &places(&mine, &head, &machine)?);
        say::line(format!(
            "hint: pcluster down    ends the head's machine, too; {} stays with queue and files",
            machine.volume
        ));
    }
    Ok(code::DONE)
}

/// A head of this name may be somewhere that this user has not placed it.
fn may_be_placed(
    config: &Config,
    known: Option<&KnownHead>,
    before: Option<&Placed>,
) -> Result<(), Failure> {
    let name = &config.name;
    match (known, before) {
        (Some(known), None) => Err(Failure::refused(format!(
            "the head of {name} is on {}, was placed by somebody else, and does not answer",
            known.ssh
        ))
        .hint(format!(
            "pcluster connect --forget {name}, then pcluster up    places one of your own"
        ))),
        (_, Some(before)) if before.region != config.ec2.region => Err(Failure::refused(format!(
            "the head of {name} is in {}, the file says {}",
            before.region, config.ec2.region
        ))
        .hint("pcluster down --delete-storage    ends all of it there first")),
        _ => Ok(()),
    }
}

fn places(
    mine: &Placed,
    head: &KnownHead,
    machine: &HeadMachineView,
) -> Result<Vec<(String, String)>, Failure> {
    let key = mine.key_file(&surroundings())?;
    Ok(vec![
        ("head".into(), format!("{} in {}", machine.instance, machine.zone)),
        ("log in".into(), format!("ssh -i {} {}", key.display(), head.ssh)),
    ])
}

/// What the head's program needs to know to act for it.
fn place(
    file: &Path,
    mine: &Placed,
    programs: &HeadPrograms,
    what: &str,
) -> Result<Command, Failure> {
    let mut command = Command::new(find_head()?);
    command.arg("place-head").arg(what).arg("--config").arg(file);
    command.arg(format!("--cluster={}", mine.cluster));
    command.arg(format!("--account={}", mine.account));
    command.arg(format!("--public-key={}", mine.public_key));
    command.arg(format!("--arch={}", programs.arch));
    Ok(command)
}

/// Lets the head's program work: its progress goes to this terminal, its answer is read.
fn ask<T: DeserializeOwned>(command: &mut Command) -> Result<T, Failure> {
    let program = command.get_program().to_owned();
    let failed = |why: String| {
        Failure::refused(format!("{} cannot be used: {why}", PathBuf::from(&program).display()))
    };
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        // It has said why.
        return Err(Failure::Rendered { text: String::new(), code: code::REFUSED });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// Shows what will be made and what it costs; on a terminal a word is enough.
fn agree(config: &Config, there: &HeadThereView, is_agreed: bool) -> Result<(), Failure> {
    if there.instance.is_some() {
        return Ok(());
    }
    let volume = there.volume.as_ref().map(|volume| volume.volume.as_str());
    say::talk(&plan_of(config, volume));
    for namesake in &there.namesakes {
        say::line(format!(
            "note: another cluster of this name has a head in this account: {namesake}"
        ));
    }
    if is_agreed {
        return Ok(());
    }
    match say::ask("make them? [yes/no] ")? {
        Some(answer) if answer == "yes" => Ok(()),
        Some(_) => Err(Failure::refused("nothing was made")),
        None => Err(Failure::refused("nobody has agreed to that")
            .hint("pcluster up --yes    agrees without a question")),
    }
}

/// What `up` makes in the account, line by line.
fn plan_of(config: &Config, volume: Option<&str>) -> String {
    let price = |price: Option<pcluster_model::Price>| {
        price.map_or("price unknown".into(), |price| price.to_string())
    };
    let mut rows = Vec::new();
    for (at, cost) in config.fixed_costs.iter().enumerate() {
        let what = match (at, volume) {
            (0, _) => "the head's machine".to_owned(),
            (_, Some(volume)) => format!("its volume, {volume}, which is there already"),
            (_, None) => "its volume: queue, ledger and shared files; `down` keeps it".to_owned(),
        };
        rows.push((cost.label.clone(), format!("{}   {what}", price(cost.price))));
    }
    rows.push(("2 security groups".into(), "free   nothing comes in but SSH to the head".into()));
    let summary = check_summary(config);
    let mut text = format!(
        "{}: pcluster up makes in your account, in {}:\n{}",
        config.name,
        config.ec2.region,
        crate::text::facts(&rows, 20, Look::here().width)
    );
    text.push_str(&format!(
        "  nodes come and go with jobs; all of it at rest {}, at most {}; no role, no user, no key\n",
        summary.rest_per_hour, summary.most_per_hour
    ));
    text
}

/// Where its programs may be: as the head's own is looked for.
fn folders() -> Result<Vec<PathBuf>, Failure> {
    let head = find_head()?;
    let head = head.parent().map(Path::to_path_buf).into_iter();
    let own = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_path_buf()));
    Ok(head.chain(own).collect())
}

/// The machine as every later command reaches it.
fn remembered(
    mine: &Placed,
    machine: &HeadMachineView,
    known: Option<KnownHead>,
) -> Result<KnownHead, Failure> {
    let target = Target { user: mine.account.clone(), host: machine.address.clone(), port: 22 };
    let pinned = || known.filter(|known| known.ssh == target.to_string()).map(|it| it.host_key);
    let host_key = machine.host_key.clone().or_else(pinned).ok_or_else(|| {
        Failure::refused(format!("nobody knows the host key of {}", machine.instance))
            .fact("because", "its console does not hold it any more")
            .hint(
                "pcluster down --now, then pcluster up    makes a new machine with the same volume",
            )
    })?;
    Ok(KnownHead {
        name: mine.name.clone(),
        ssh: target.to_string(),
        host_key,
        socket: format!("/run/pcluster/{}/head.sock", mine.name),
        home: format!("/home/{}", mine.account),
        identity: Some(mine.key_file(&surroundings())?),
    })
}

async fn answering(known: &KnownHead) -> Option<StatusView> {
    known.client().ok()?.status().await.ok()
}

async fn until_it_answers(head: &KnownHead) -> Result<StatusView, Failure> {
    let (client, began) = (head.client()?, Instant::now());
    loop {
        match client.status().await {
            Ok(status) => return Ok(status),
            Err(error) if began.elapsed() > ANSWERS_WITHIN => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn already_up(global: &Global, known: &KnownHead, status: &StatusView) -> Outcome {
    if global.json {
        say::json(status)?;
    } else {
        say::line(format!("{} is up already, on {}", known.name, known.ssh));
        say::line("note: what was changed in cluster.toml since counts from the next start on");
        say::line("hint: pcluster status   pcluster queue   pcluster down, then pcluster up");
    }
    Ok(code::DONE)
}

fn failed(error: BootstrapError) -> Failure {
    let again = "pcluster up    goes on from here; pcluster down --now    removes the machine";
    match error {
        BootstrapError::Ssh(error) => known::told(error, "NAME").hint(again),
        BootstrapError::OtherArch { .. } => Failure::refused(error.to_string())
            .hint("head.type of the other architecture, or pcluster built for this one"),
        BootstrapError::Programs(_) => Failure::refused(error.to_string())
            .hint("scripts/install    installs all programs; a head needs those for Linux"),
        BootstrapError::Failed { .. } => Failure::refused(error.to_string()).hint(again),
    }
}

/// True where the head's machine lives, as the account says.
///
/// # Errors
/// When the account cannot be asked.
pub(super) fn lives(mine: &Placed) -> Result<bool, Failure> {
    let mut command = remove(mine)?;
    Ok(ask::<HeadThereView>(command.arg("--only-look"))?.instance.is_some())
}

fn remove(mine: &Placed) -> Result<Command, Failure> {
    let mut command = Command::new(find_head()?);
    command.arg("remove-head");
    command.arg(format!("--cluster={}", mine.cluster)).arg(format!("--name={}", mine.name));
    command.arg(format!("--region={}", mine.region));
    Ok(command)
}

/// Ends the head's machine and everything of the cluster but its volume, or that, too.
///
/// # Errors
/// What could not be ended; the same command goes on.
pub(super) fn removed(mine: &Placed, and_storage: bool) -> Result<HeadRemovedView, Failure> {
    let here = surroundings();
    let mut command = remove(mine)?;
    if and_storage {
        command.arg("--delete-storage");
    }
    let view: HeadRemovedView = ask(&mut command)?;
    KnownHead::forget(&here, &mine.name)?;
    if view.volume.is_none() {
        mine.forget(&here)?;
    }
    Ok(view)
}

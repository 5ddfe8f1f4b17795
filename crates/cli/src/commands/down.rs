//! `down`: waits for running jobs, keeps the queue, and proves that nothing is left.
use super::placing;
use super::wait::Patience;
use crate::cluster::{Global, elsewhere, find_file, head, surroundings};
use crate::config_file;
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::{render, say};
use clap::Args;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{DownRequest, DownView};
use pcluster_client::placed::Placed;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const ASK_EVERY: Duration = Duration::from_millis(500);
/// A line for somebody who watches, and for a log.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// A provider whose list cannot be read for so long is said, once no job runs any more.
const UNREAD_FOR: Duration = Duration::from_secs(10);
/// The head closes its socket soon after its last word.
const SOCKET_GONE_WITHIN: Duration = Duration::from_secs(15);

/// Stop the cluster: wait for running jobs, keep the queue, leave nothing behind
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster down          waits for running jobs; waiting ones stay for the next `pcluster up`
  pcluster down --now    cancels running jobs
  pcluster down --delete-storage    head.type: the volume with queue and shared files, too
  pcluster up            goes on with the queue")]
pub struct DownArgs {
    /// Cancel what runs instead of waiting for it
    #[arg(long)]
    pub now: bool,
    /// Delete the volume of a head that was placed on a machine of its own; asks for the cluster's name
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub delete_storage: Option<String>,
}

/// `down`.
///
/// # Errors
/// No head, no right to, or a head that went away with nodes left.
pub async fn run(global: &Global, args: &DownArgs) -> Outcome {
    let placed = placed(global)?;
    let and_storage = deletes(args, placed.as_ref())?;
    let head = match (head(global), &placed) {
        (Ok(head), _) => head,
        (Err(failure), Some(placed)) => {
            return without_head(global, (args.now, and_storage), placed, failure);
        }
        (Err(failure), None) => return Err(failure),
    };
    let request = DownRequest { now: args.now };
    let first = match (head.client.down(&request).await, &placed) {
        (Err(error @ ClientError::NoHead { .. }), Some(placed)) => {
            return without_head(global, (args.now, and_storage), placed, error.into());
        }
        (first, _) => first?,
    };
    if !global.json {
        // Nothing waits for a next `up` where the queue goes, too.
        let waiting = if and_storage { 0 } else { first.waiting };
        let shown = DownView { waiting, ..first.clone() };
        say::data(&render::status::down_begins(&shown, args.now, &Look::here()))?;
    }
    let last = tokio::select! {
        last = until_closed(&head.client, &request, first, global.json) => last?,
        _ = tokio::signal::ctrl_c() => {
            say::line("\nlet go: the cluster still goes down by itself");
            say::line("hint: pcluster status   pcluster down   pcluster down --now");
            return Ok(130);
        }
    };
    until_socket_is_gone(&head.client).await?;
    drop(head.client);
    let mut last = last;
    if let Some(placed) = &placed {
        let view = placing::removed(placed, and_storage)?;
        // What the head could not remove while it lived there went with its machine.
        last.cleaned.retain(|line| !line.contains(" stays"));
        last.cleaned.extend(view.lines);
    }
    if global.json {
        say::json(&last)?;
    } else {
        say::data(&render::status::down_ends(&last, &head.name, and_storage))?;
        if !and_storage {
            say::line("hint: pcluster up    goes on with the queue");
        }
    }
    let left = last.nodes_left > 0 || last.instances_left > 0;
    Ok(if left { code::ATTENTION } else { code::DONE })
}

/// The head that this user has placed on a machine of its own, if that one is meant.
fn placed(global: &Global) -> Result<Option<Placed>, Failure> {
    let name = match &global.cluster {
        Some(name) => Some(name.clone()),
        None => match find_file(global, &surroundings())?.file {
            Some(file) => config_file::name_of(&file).ok(),
            None => elsewhere(global)?.map(|known| known.name),
        },
    };
    name.map_or(Ok(None), |name| placing::placed(&name))
}

/// Whether the storage goes, too; its name must have been said.
fn deletes(args: &DownArgs, placed: Option<&Placed>) -> Result<bool, Failure> {
    let Some(said) = &args.delete_storage else { return Ok(false) };
    let Some(placed) = placed else {
        return Err(Failure::refused("no storage of this cluster is down's to delete")
            .hint("head.type places a head with a volume of its own; other folders are yours"));
    };
    let said = if said.is_empty() {
        say::ask(&format!(
            "queue, ledger and shared files of {} will be gone for ever; its name, to agree: ",
            placed.name
        ))?
    } else {
        Some(said.clone())
    };
    if said.is_some_and(|said| said == placed.name) {
        return Ok(true);
    }
    Err(Failure::refused("the storage stays: its cluster's name was not said")
        .hint(format!("pcluster down --delete-storage={}", placed.name)))
}

/// The head's machine is gone or does not answer: what there is of the cluster is ended from here.
fn without_head(
    global: &Global,
    (now, and_storage): (bool, bool),
    placed: &Placed,
    failure: Failure,
) -> Outcome {
    if !now && placing::lives(placed)? {
        return Err(failure
            .hint("pcluster up    starts it again on its machine, if that can be reached")
            .hint(
                "pcluster down --now    ends the machine and all nodes from here; the queue stays",
            ));
    }
    let view = placing::removed(placed, and_storage)?;
    if global.json {
        say::json(&DownView {
            schema: "pcluster.down/1".into(),
            phase: "closed".into(),
            cleaned: view.lines,
            ..DownView::default()
        })?;
    } else {
        view.lines.iter().for_each(say::line);
        say::line(format!("{} is down: nothing of it is left running", placed.name));
    }
    Ok(code::DONE)
}

/// Asks again until the head says `closed`.
async fn until_closed(
    client: &Client,
    request: &DownRequest,
    first: DownView,
    silent: bool,
) -> Result<DownView, Failure> {
    let mut view = first;
    let mut patience = Patience::default();
    let (mut read_at, mut said_at) = (Instant::now(), Instant::now());
    let often = if std::io::stderr().is_terminal() { SAY_EVERY / 6 } else { SAY_EVERY };
    while view.phase != "closed" {
        tokio::time::sleep(ASK_EVERY).await;
        match client.down(request).await {
            Ok(now) => {
                patience.answered();
                view = now;
            }
            // It said so before it went: its last list was empty, and nothing starts any more.
            Err(ClientError::NoHead { .. } | ClientError::Lost(_)) if is_empty(&view) => {
                view.phase = "closed".to_owned();
            }
            Err(ClientError::NoHead { .. }) => {
                return Err(Failure::no_head("the head went away while nodes were left")
                    .fact(
                        "left",
                        format!(
                            "{} nodes, {} in the provider's list",
                            view.nodes_left, view.instances_left
                        ),
                    )
                    .hint("pcluster up, then pcluster down    finds them again and ends them"));
            }
            Err(error) => patience.bear(error).await?,
        }
        if view.running > 0 || view.unread.is_empty() {
            read_at = Instant::now();
        } else if read_at.elapsed() > UNREAD_FOR {
            return Err(unread(&view));
        }
        if !silent && said_at.elapsed() >= often && view.phase != "closed" {
            said_at = Instant::now();
            say::line(format!("... {} jobs running, {} nodes left", view.running, view.nodes_left));
        }
    }
    Ok(view)
}

/// All is done that can be, and nobody can say whether it is all.
fn unread(view: &DownView) -> Failure {
    let failure = Failure::timeout("nobody knows whether machines are left");
    let failure =
        view.unread.iter().fold(failure, |failure, line| failure.fact("cause", line.as_str()));
    failure
        .fact("so", "the head stays, and ends what it finds once the list can be read")
        .hint("pcluster doctor provider    says what to mend; then pcluster down again")
}

fn is_empty(view: &DownView) -> bool {
    view.running == 0 && view.nodes_left == 0 && view.instances_left == 0
}

/// "Down" means that another `up` finds nobody there.
async fn until_socket_is_gone(client: &Client) -> Result<(), Failure> {
    let began = Instant::now();
    while client.is_listened_to().await {
        if began.elapsed() > SOCKET_GONE_WITHIN {
            return Err(Failure::timeout("the head has closed the cluster and does not end")
                .hint("pcluster status    shows its process"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

//! What was used: `sacct`, `seff`, `sstat`, and views of accounts.
//!
//! Invariant: a page is a pure function of the head's answer, what was asked for and the reader's
//! clock; a command asks the head once. Deliberately absent: changes of accounts (there are none to
//! change: an account is a label of a job).
pub mod sacct;
pub mod table;

use crate::options;
use crate::queue::{Ended, read, tell, variable};
use crate::refusal::Refusal;
use crate::words::Clock;
use crate::words::jobid::JobId;
use crate::{Context, ask};
use pcluster_client::failure::Failure;

/// `sacct`.
pub async fn sacct(args: Vec<String>, context: Context) -> u8 {
    tell(sacct_page(&args, &context).await)
}

async fn sacct_page(args: &[String], context: &Context) -> Result<String, Ended> {
    let words = read(&options::SACCT, args)?;
    if words.has("helpformat") {
        return Ok(table::help_format(sacct::fields::FIELDS));
    }
    let uid = rustix::process::geteuid().as_raw();
    let clock = Clock::here();
    let wanted = sacct::Wanted::of(&words, uid, &clock, variable)?;
    if wanted.script {
        return Ok(scripts(&wanted.jobs, context).await?);
    }
    let list = ask::records(context, "sacct", &wanted.query()).await?;
    Ok(sacct::page(&list, &wanted, &clock))
}

/// `sacct -B -j …`: the scripts of jobs.
async fn scripts(ids: &[JobId], context: &Context) -> Result<String, Refusal> {
    let failed = |failure: Failure| Refusal::error("sacct", "no script", 1).because(&failure);
    let head = context.head().map_err(failed)?;
    let mut out = String::new();
    for id in ids {
        let detail = head.client.job(&id.asked()).await.map_err(|error| failed(error.into()))?;
        let title = format!("Batch Script for {}", id.job);
        out.push_str(&format!("{title}\n{}\n", "-".repeat(80)));
        out.push_str(&detail.script.unwrap_or_else(|| "NONE\n".to_owned()));
    }
    Ok(out)
}

/// `sacctmgr`.
pub async fn sacctmgr(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sacctmgr: error: not built yet");
    1
}

/// `sshare`.
pub async fn sshare(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sshare: error: not built yet");
    1
}

/// `sstat`.
pub async fn sstat(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sstat: error: not built yet");
    1
}

/// `seff`.
pub async fn seff(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("seff: error: not built yet");
    1
}

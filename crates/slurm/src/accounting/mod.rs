//! What was used: `sacct`, `seff`, `sstat`, and views of accounts.
//!
//! Invariant: a page is a pure function of the head's answer, what was asked for and the reader's
//! clock; a command asks the head once. Deliberately absent: changes of accounts (there are none to
//! change: an account is a label of a job).
pub mod sacct;
pub mod seff;
pub mod sstat;
pub mod table;
pub mod used;
pub mod views;

use crate::options;
use crate::queue::{Ended, cluster_line, command_line, read, tell, variable};
use crate::refusal::Refusal;
use crate::steps::usage;
use crate::words::Clock;
use crate::words::jobid::{self, JobId};
use crate::{Context, ask, people};
use pcluster_api::{JobRecord, RecordsQuery};
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
    let users = wanted.users.as_deref().unwrap_or_default();
    if let Some(name) = people::nobodies(users, &list.records).first() {
        return Err(Refusal::error("sacct", format!("Invalid user id: {name}"), 1).into());
    }
    cluster_line("sacct", &words, &list.cluster)?;
    if wanted.json {
        let command = command_line("sacct", args);
        return Ok(sacct::data(&list, &wanted, &clock, &command));
    }
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

/// Everything that the head knows of jobs: the accounts in use are read from it.
fn all_of_them() -> RecordsQuery {
    RecordsQuery { ended_since_ms: Some(0), ..RecordsQuery::default() }
}

/// `sacctmgr`.
pub async fn sacctmgr(args: Vec<String>, context: Context) -> u8 {
    let page = async {
        let words = read(&views::SACCTMGR, &args)?;
        let list = ask::records(&context, "sacctmgr", &all_of_them()).await?;
        let uid = rustix::process::geteuid().as_raw();
        Ok(views::sacctmgr(&list, &words, uid, &Clock::here())?)
    };
    tell(page.await)
}

/// `sshare`.
pub async fn sshare(args: Vec<String>, context: Context) -> u8 {
    let page = async {
        let words = read(&views::SSHARE, &args)?;
        if words.has("helpformat") {
            return Ok(table::help_format(views::SHARES));
        }
        let list = ask::records(&context, "sshare", &all_of_them()).await?;
        let uid = rustix::process::geteuid().as_raw();
        Ok(views::sshare(&list, &words, uid, &Clock::here())?)
    };
    tell(page.await)
}

/// The ids of a command that must be given some.
fn ids(command: &str, text: &str, none: &str) -> Result<Vec<JobId>, Refusal> {
    let ids = jobid::list(text)
        .map_err(|word| Refusal::fatal(command, format!("Bad job/step specified: {word}")))?;
    if ids.is_empty() { Err(Refusal::error(command, none, 1)) } else { Ok(ids) }
}

fn of_ids(ids: &[JobId]) -> RecordsQuery {
    let asked: Vec<String> = ids.iter().map(JobId::asked).collect();
    RecordsQuery { ids: Some(asked.join(",")), ended: true, steps: true, ..RecordsQuery::default() }
}

/// `sstat`.
pub async fn sstat(args: Vec<String>, context: Context) -> u8 {
    let page = async {
        let words = read(&sstat::SSTAT, &args)?;
        if words.has("helpformat") {
            return Ok(table::help_format(sstat::FIELDS));
        }
        let chosen = sstat::columns(&words)?;
        let text = words.value("jobs").or(words.rest.first().map(String::as_str)).unwrap_or("");
        let ids = ids("sstat", text, "You didn't give me any jobs to stat.")?;
        let list = ask::records(&context, "sstat", &of_ids(&ids)).await?;
        let (all, header) = (words.has("allsteps"), !words.has("noheader"));
        let mut rows = sstat::rows(&list, &ids, all, &Clock::here());
        let asked = sstat::questions(&rows, &chosen);
        if !asked.is_empty()
            && let Ok(head) = context.head()
        {
            sstat::put(&mut rows, &usage::of(&head.client, asked).await);
        }
        Ok(table::page(&chosen, &rows, &views::look(&words), header))
    };
    tell(page.await)
}

/// `seff`.
pub async fn seff(args: Vec<String>, context: Context) -> u8 {
    let page = async {
        let words = read(&seff::SEFF, &args)?;
        let text = words.rest.first().map_or("", String::as_str);
        let ids = ids("seff", text, "which job? seff JOB")?;
        let list = ask::records(&context, "seff", &of_ids(&ids)).await?;
        let clock = Clock::here();
        let meant = |record: &&JobRecord| ids.iter().any(|id| id.means(record));
        let pages: Vec<String> =
            list.records.iter().filter(meant).map(|r| seff::page(&list, r, &clock)).collect();
        if pages.is_empty() {
            return Err(Refusal::plain("Job not found.", 2).into());
        }
        Ok(pages.join("\n"))
    };
    tell(page.await)
}

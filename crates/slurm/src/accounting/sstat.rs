//! `sstat`: steps that run.
//!
//! Invariant: only what runs now, as in Slurm. Deliberately absent: readings of processes in the
//! middle of a step: the head learns usage when a step or a job ends, until then it is empty.
use super::sacct::rows::{Part, Row, Setting, of, step_state};
use super::table::{Chosen, Field, choose, number, page as table_page, text};
use crate::options::{Effect, Table, Takes, Words, own};
use crate::queue::squeue::View;
use crate::refusal::Refusal;
use crate::words::columns::Look;
use crate::words::jobid::{JobId, StepId};
use crate::words::{Clock, State, clock, hosts};
use pcluster_api::RecordList;
use std::sync::Arc;

/// The options of `sstat`.
pub const SSTAT: Table = Table::own(
    "sstat",
    "",
    "Shows the steps of jobs that run.",
    "  sstat -j 41 --format=JobID,NTasks,Nodelist\n",
    &[
        own("allsteps", 'a', Takes::Nothing, Effect::Used, "all steps of a job"),
        own("format", 'o', Takes::Value("FIELDS"), Effect::Used, "fields: JobID,NTasks"),
        own("fields", '-', Takes::Value("FIELDS"), Effect::Used, ""),
        own("help", 'h', Takes::Nothing, Effect::Used, "this text"),
        own("helpformat", 'e', Takes::Nothing, Effect::Used, "names of fields"),
        own("jobs", 'j', Takes::Value("IDS"), Effect::Used, "these jobs or steps"),
        own("noconvert", '-', Takes::Nothing, Effect::Silent("sizes are whole"), ""),
        own("noheader", 'n', Takes::Nothing, Effect::Used, "no headline"),
        own("parsable", 'p', Takes::Nothing, Effect::Used, "fields with | after each"),
        own("parsable2", 'P', Takes::Nothing, Effect::Used, "fields with | between"),
        own("pidformat", 'i', Takes::Nothing, Effect::Used, "JobID, Nodelist and Pids"),
        own("usage", '-', Takes::Nothing, Effect::Used, "all options in short"),
        own("verbose", 'v', Takes::Nothing, Effect::Silent("nothing more is known"), ""),
        own("version", 'V', Takes::Nothing, Effect::Used, "the version that clients compare"),
    ],
);

fn none(_: &Row) -> String {
    String::new()
}

fn zero(_: &Row) -> String {
    "0".to_owned()
}

fn average_cpu(row: &Row) -> String {
    let (user, system) = row.cpu_ms();
    clock::cpu_span((user + system) / u64::from(row.tasks().unwrap_or(1).max(1)))
}

/// All fields, in the order of `--helpformat`.
pub const FIELDS: &[Field<Row>] = &[
    text("AveCPU", 10, average_cpu),
    text("AveCPUFreq", 10, none),
    text("AveDiskRead", 12, none),
    text("AveDiskWrite", 12, none),
    text("AvePages", 10, none),
    text("AveRSS", 10, none),
    text("AveVMSize", 10, none),
    text("ConsumedEnergy", 14, zero),
    number("ConsumedEnergyRaw", 17, zero),
    text("JobID", -12, Row::id),
    text("MaxDiskRead", 12, none),
    text("MaxDiskReadNode", 15, none),
    number("MaxDiskReadTask", 15, none),
    text("MaxDiskWrite", 12, none),
    text("MaxDiskWriteNode", 16, none),
    number("MaxDiskWriteTask", 16, none),
    text("MaxPages", 8, none),
    text("MaxPagesNode", 12, none),
    number("MaxPagesTask", 14, none),
    text("MaxRSS", 10, none),
    text("MaxRSSNode", 10, none),
    number("MaxRSSTask", 10, none),
    text("MaxVMSize", 10, none),
    text("MaxVMSizeNode", 14, none),
    number("MaxVMSizeTask", 14, none),
    text("MinCPU", 10, none),
    text("MinCPUNode", 10, none),
    number("MinCPUTask", 10, none),
    text("Nodelist", 20, |row| hosts::fold_sorted(row.nodes())),
    number("NTasks", 8, |row| row.tasks().map_or_else(String::new, |tasks| tasks.to_string())),
    text("Pids", 20, none),
    text("ReqCPUFreq", 10, zero),
    text("ReqCPUFreqMin", 13, zero),
    text("ReqCPUFreqMax", 13, zero),
    text("ReqCPUFreqGov", 13, zero),
    text("TRESUsageInAve", 14, none),
    text("TRESUsageInMax", 14, none),
    text("TRESUsageInMaxNode", 18, none),
    text("TRESUsageInMaxTask", 18, none),
    text("TRESUsageInMin", 14, none),
    text("TRESUsageInMinNode", 18, none),
    text("TRESUsageInMinTask", 18, none),
    text("TRESUsageInTot", 14, none),
    text("TRESUsageOutAve", 15, none),
    text("TRESUsageOutMax", 15, none),
    text("TRESUsageOutMaxNode", 19, none),
    text("TRESUsageOutMaxTask", 19, none),
    text("TRESUsageOutMin", 15, none),
    text("TRESUsageOutMinNode", 19, none),
    text("TRESUsageOutMinTask", 19, none),
    text("TRESUsageOutTot", 15, none),
];

/// The columns that were asked for.
///
/// # Errors
/// A word that is no field.
pub fn columns(words: &Words) -> Result<Vec<Chosen<Row>>, Refusal> {
    let asked = words.value("format").or_else(|| words.value("fields"));
    let format = match asked {
        Some(text) => text,
        None if words.has("pidformat") => "JobID,Nodelist,Pids",
        None => "all",
    };
    choose(FIELDS, format).map_err(|word| {
        Refusal::error("sstat", format!("Invalid field requested: \"{word}\""), 1)
            .hint("sstat --helpformat lists all")
    })
}

/// The page of the steps that run; of a job that is named its batch step or first step, unless all
/// are wanted.
#[must_use]
pub fn page(
    list: &RecordList,
    ids: &[JobId],
    all: bool,
    chosen: &[Chosen<Row>],
    look: &Look,
    header: bool,
    clock: &Clock,
) -> String {
    let view = View::of(list, clock);
    let setting = Arc::new(Setting { view, unit: None, truncate: None });
    let mut rows = Vec::new();
    for record in list.records.iter().filter(|record| record.ended_at_ms.is_none()) {
        let runs = |row: &Row| match &row.part {
            Part::Job => false,
            Part::Batch => true,
            Part::Step(step) => step_state(record, step) == State::Running,
        };
        let running: Vec<Row> =
            of(record.clone(), true, &setting).into_iter().filter(runs).collect();
        let named = |row: &Row| {
            ids.iter().filter(|id| id.means(record)).any(|id| match (id.step, &row.part) {
                (Some(StepId::Batch), Part::Batch) => true,
                (Some(StepId::Number(number)), Part::Step(step)) => step.step == number,
                (None, _) => true,
                _ => false,
            })
        };
        let whole = ids.iter().any(|id| id.means(record) && id.step.is_none());
        let meant = running.into_iter().filter(named);
        if whole && !all { rows.extend(meant.take(1)) } else { rows.extend(meant) }
    }
    table_page(chosen, &rows, look, header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{jobid, made_up};

    #[test]
    fn only_what_runs_is_shown() {
        let mut job = made_up::running(146);
        let open = pcluster_api::StepRecord { ended_at_ms: None, ..made_up::step(1) };
        job.steps = vec![made_up::step(0), open];
        let list = made_up::records(vec![job, made_up::ended(9, "completed", Some(0), None)]);
        let chosen = choose(FIELDS, "JobID,NTasks,Nodelist").expect("fields");
        let said = |ids: &str, all: bool| {
            let ids = jobid::list(ids).expect("ids");
            page(&list, &ids, all, &chosen, &Look::Separated("|".into()), false, &made_up::clock())
        };
        assert_eq!(said("146", true), "146.batch|1|c1\n146.1|2|c1\n");
        assert_eq!(said("146", false), "146.batch|1|c1\n");
        assert_eq!(said("146.1,9", false), "146.1|2|c1\n");
    }
}

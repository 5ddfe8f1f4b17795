//! `sstat`: steps that run.
//!
//! Invariant: only what runs now, as in Slurm; what is used is what its nodes answer when they are
//! asked, and empty where one does not. Deliberately absent: a memory of what was answered.
use super::sacct::rows::{Live, Part, Row, Setting, of, step_state};
use super::table::{self, Chosen, Field, number, text};
use super::used;
use crate::options::{Effect, Table, Takes, Words, own};
use crate::refusal::Refusal;
use crate::steps::usage::Asked;
use crate::words::jobid::{JobId, StepId};
use crate::words::{Clock, State, hosts};
use pcluster_api::RecordList;
use pcluster_steps::message::{Most, PartUsage};
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

fn pids(row: &Row) -> String {
    let pids = row.live.as_ref().map_or(&[][..], |live| &live.pids);
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// All fields, in the order of `--helpformat`.
pub const FIELDS: &[Field<Row>] = &[
    text("AveCPU", 10, used::average_cpu),
    text("AveCPUFreq", 10, none),
    text("AveDiskRead", 12, none),
    text("AveDiskWrite", 12, none),
    text("AvePages", 10, none),
    text("AveRSS", 10, used::average_rss),
    text("AveVMSize", 10, used::average_vm),
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
    text("MaxRSS", 10, used::max_rss),
    text("MaxRSSNode", 10, used::max_rss_node),
    number("MaxRSSTask", 10, used::max_rss_task),
    text("MaxVMSize", 10, used::max_vm),
    text("MaxVMSizeNode", 14, used::max_vm_node),
    number("MaxVMSizeTask", 14, used::max_vm_task),
    text("MinCPU", 10, used::min_cpu),
    text("MinCPUNode", 10, used::min_cpu_node),
    number("MinCPUTask", 10, used::min_cpu_task),
    text("Nodelist", 20, |row| hosts::fold_sorted(row.nodes())),
    number("NTasks", 8, |row| row.tasks().map_or_else(String::new, |tasks| tasks.to_string())),
    text("Pids", 20, pids),
    text("ReqCPUFreq", 10, zero),
    text("ReqCPUFreqMin", 13, zero),
    text("ReqCPUFreqMax", 13, zero),
    text("ReqCPUFreqGov", 13, zero),
    text("TRESUsageInAve", 14, used::in_average),
    text("TRESUsageInMax", 14, used::in_most),
    text("TRESUsageInMaxNode", 18, used::in_most_node),
    text("TRESUsageInMaxTask", 18, used::in_most_task),
    text("TRESUsageInMin", 14, used::in_least),
    text("TRESUsageInMinNode", 18, used::in_least_node),
    text("TRESUsageInMinTask", 18, used::in_least_task),
    text("TRESUsageInTot", 14, used::in_total),
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
    table::columns("sstat", FIELDS, format)
}

/// The steps that run; of a job that is named its batch step or first step, unless all are wanted.
#[must_use]
pub fn rows(list: &RecordList, ids: &[JobId], all: bool, clock: &Clock) -> Vec<Row> {
    let setting = Arc::new(Setting::of(list, clock));
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
    rows
}

/// Fields that need no node to answer.
const OF_THE_HEAD: [&str; 3] = ["JobID", "Nodelist", "NTasks"];

/// What to ask for these rows, where a field of theirs needs it.
#[must_use]
pub fn questions(rows: &[Row], chosen: &[Chosen<Row>]) -> Vec<Asked> {
    if chosen.iter().all(|one| OF_THE_HEAD.contains(&one.field.name)) {
        return Vec::new();
    }
    let mut asked = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let Some(run) = row.job.run else { continue };
        let step = match &row.part {
            Part::Job => continue,
            Part::Batch => None,
            Part::Step(step) => Some(step.step),
        };
        for node in row.nodes() {
            let rank = row.job.node_names.iter().position(|name| name == node);
            let rank = rank.and_then(|rank| u32::try_from(rank).ok());
            asked.extend(rank.map(|rank| Asked { row: at, run, rank, node: node.clone(), step }));
        }
    }
    asked
}

/// Puts the answers into their rows. A row of which nobody has answered stays without.
pub fn put(rows: &mut [Row], answers: &[(Asked, PartUsage)]) {
    for (at, row) in rows.iter_mut().enumerate() {
        let mut live = Live::default();
        for (asked, told) in answers.iter().filter(|(asked, _)| asked.row == at) {
            let pair = |most: Most| (most.amount, most.task);
            let most = [pair(told.max_rss_bytes), pair(told.max_vm_bytes), pair(told.min_cpu_ms)];
            live.usage.add(told.tasks, (told.rss_bytes, told.vm_bytes), most, &asked.node);
            live.cpu_ms.0 = live.cpu_ms.0.saturating_add(told.user_cpu_ms);
            live.cpu_ms.1 = live.cpu_ms.1.saturating_add(told.system_cpu_ms);
            live.pids.extend(&told.pids);
        }
        row.live = (live.usage.tasks > 0).then(|| Arc::new(live));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::table::{choose, page};
    use crate::words::columns::Look;
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
            let rows = rows(&list, &ids, all, &made_up::clock());
            assert_eq!(questions(&rows, &chosen), [], "nobody is asked for what the head knows");
            page(&chosen, &rows, &Look::Separated("|".into()), false)
        };
        assert_eq!(said("146", true), "146.batch|1|c1\n146.1|2|c1\n");
        assert_eq!(said("146", false), "146.batch|1|c1\n");
        assert_eq!(said("146.1,9", false), "146.1|2|c1\n");
    }

    #[test]
    fn nodes_tell_what_is_used() {
        let mut job = made_up::running(146);
        job.node_names = vec!["c1".into(), "c2".into(), "c3".into()];
        let open = pcluster_api::StepRecord {
            ended_at_ms: None,
            ntasks: 3,
            node_names: vec!["c1".into(), "c3".into()],
            ..made_up::step(1)
        };
        job.steps = vec![open];
        let list = made_up::records(vec![job]);
        let ids = jobid::list("146").expect("ids");
        let mut rows = rows(&list, &ids, true, &made_up::clock());
        let fields = "JobID,MaxRSS,MaxRSSNode,MaxRSSTask,AveRSS,AveCPU,MinCPU,MinCPUTask,MaxVMSize,Pids,TRESUsageInTot";
        let chosen = choose(FIELDS, fields).expect("fields");
        let asked = questions(&rows, &chosen);
        let places: Vec<_> = asked.iter().map(|one| (one.row, one.rank, one.step)).collect();
        assert_eq!(places, [(0, 0, None), (1, 0, Some(1)), (1, 2, Some(1))]);
        let most = |amount, task| Most { amount, task };
        let told = |tasks: u32, rss: u64, task: u32| PartUsage {
            tasks,
            user_cpu_ms: 4000,
            system_cpu_ms: 2000,
            rss_bytes: rss,
            vm_bytes: 10 << 20,
            max_rss_bytes: most(rss, task),
            max_vm_bytes: most(5 << 20, task),
            min_cpu_ms: most(u64::from(task) * 1000, task),
            pids: vec![task + 70],
        };
        let answers: Vec<_> =
            asked.into_iter().skip(1).zip([told(2, 3 << 20, 1), told(1, 6 << 20, 2)]).collect();
        put(&mut rows, &answers);
        let text = page(&chosen, &rows, &Look::Separated("|".into()), false);
        assert_eq!(
            text,
            "146.batch||||||||||\n\
             146.1|6M|c3|2|3M|00:00:04|00:00:01|1|5M|71,72|cpu=00:00:12,energy=0,mem=9M,vmem=20M\n"
        );
    }
}

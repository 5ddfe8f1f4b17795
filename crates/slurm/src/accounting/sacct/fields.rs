//! Every field of `sacct`, in the order of `--helpformat`.
//!
//! Invariant: the names are those of Slurm 22.05 and 23.11 together; a value that nobody measures
//! here is empty. Deliberately absent: guesses.
use super::rows::{Part, Row};
use crate::accounting::table::{Field, date, number, text};
use crate::accounting::used;
use crate::queue::squeue::derived_exit;
use crate::words::{clock, hosts, job, size, state};

fn none(_: &Row) -> String {
    String::new()
}

/// A moment, or `Unknown`.
fn moment(row: &Row, at_ms: Option<i64>) -> String {
    row.setting.view.clock.date_or(at_ms, "Unknown")
}

fn start(row: &Row) -> String {
    match (row.start_ms(), row.job.ended_at_ms) {
        // It ended before it ever started.
        (None, Some(_)) => "None".to_owned(),
        (start, _) => moment(row, start),
    }
}

fn nodes(row: &Row) -> String {
    match row.nodes() {
        [] if row.is_job() => "None assigned".to_owned(),
        names => hosts::fold_sorted(names),
    }
}

fn node_count(row: &Row) -> String {
    match (&row.part, row.nodes().len()) {
        (Part::Job, 0) => job::node_count(&row.job).to_string(),
        (_, count) => count.to_string(),
    }
}

fn cpus(row: &Row) -> String {
    row.cpus().to_string()
}

fn cpu_time_seconds(row: &Row) -> i64 {
    row.elapsed().saturating_mul(i64::try_from(row.cpus()).unwrap_or(i64::MAX))
}

fn total_cpu_ms(row: &Row) -> u64 {
    let (user, system) = row.cpu_ms();
    user + system
}

/// Nobody measures it: 0 where Slurm has a number.
fn energy(row: &Row) -> String {
    if row.is_job() { String::new() } else { "0".to_owned() }
}

/// Seconds between the moment it could have started and its start.
fn planned_seconds(row: &Row) -> i64 {
    let Some(eligible) = job::eligible_ms(&row.job) else { return 0 };
    let until = job::start_ms(&row.job).or(row.job.ended_at_ms);
    let until = until.unwrap_or(row.setting.view.clock.now_ms);
    (until.div_euclid(1000) - eligible.div_euclid(1000)).max(0)
}

fn planned(row: &Row) -> String {
    row.of_job(|_| clock::long_span(planned_seconds(row)))
}

fn planned_cpu_seconds(row: &Row) -> i64 {
    let cpus = i64::try_from(job::asked_cpus(&row.job)).unwrap_or(i64::MAX);
    planned_seconds(row).saturating_mul(cpus)
}

fn planned_cpu(row: &Row) -> String {
    row.of_job(|_| clock::long_span(planned_cpu_seconds(row)))
}

fn planned_cpu_raw(row: &Row) -> String {
    row.of_job(|_| planned_cpu_seconds(row).to_string())
}

fn limit(row: &Row) -> String {
    row.of_job(|record| {
        job::limit_seconds(record).map_or_else(|| "UNLIMITED".to_owned(), clock::long_span)
    })
}

fn limit_minutes(row: &Row) -> String {
    row.of_job(|record| {
        let minutes = job::limit_seconds(record).map(|seconds| seconds / 60);
        minutes.map_or_else(|| "UNLIMITED".to_owned(), |minutes| minutes.to_string())
    })
}

fn why(row: &Row) -> String {
    // The reason before the start: of a job that has started there is none.
    row.of_job(|record| {
        if job::waits(record) { state::reason(record).to_owned() } else { "None".to_owned() }
    })
}

fn asked_memory(row: &Row) -> String {
    row.of_job(|record| {
        let nodes = job::node_count(record) as u64;
        let bytes = match job::least_memory(record) {
            (bytes, true) => bytes.saturating_mul(job::asked_cpus(record)),
            (bytes, false) => bytes.saturating_mul(nodes),
        };
        row.size(bytes, size::memory)
    })
}

fn frequency(row: &Row) -> String {
    if row.is_job() { "Unknown".to_owned() } else { "0".to_owned() }
}

fn submitted(row: &Row) -> String {
    match &row.part {
        Part::Step(step) => moment(row, Some(step.started_at_ms)),
        Part::Batch => moment(row, row.start_ms()),
        Part::Job => moment(row, Some(row.job.submitted_at_ms)),
    }
}

fn eligible(row: &Row) -> String {
    match &row.part {
        Part::Job => moment(row, job::eligible_ms(&row.job)),
        _ => submitted(row),
    }
}

fn layout(row: &Row) -> String {
    match &row.part {
        Part::Job => String::new(),
        Part::Batch => "Unknown".to_owned(),
        Part::Step(_) => "Block".to_owned(),
    }
}

fn flags(row: &Row) -> String {
    row.of_job(|record| if job::waits(record) { "SchedSubmit" } else { "SchedMain" }.to_owned())
}

fn restarts(row: &Row) -> String {
    row.of_job(|r| r.attempt.saturating_sub(u32::from(!job::waits(r))).to_string())
}

fn error_file(row: &Row) -> String {
    let view = &row.setting.view;
    row.of_job(|r| if r.error.is_empty() { view.output_of(r) } else { view.file(&r.error, r) })
}

/// All of them.
pub const FIELDS: &[Field<Row>] = &[
    text("Account", 10, |row| row.job.account.clone()),
    text("AdminComment", 15, none),
    number("AllocCPUS", 10, cpus),
    text("AllocNodes", 10, |row| row.nodes().len().to_string()),
    text("AllocTRES", 10, Row::tres),
    number("AssocID", 7, |_| "0".to_owned()),
    text("AveCPU", 10, used::average_cpu),
    text("AveCPUFreq", 10, none),
    text("AveDiskRead", 14, none),
    text("AveDiskWrite", 14, none),
    text("AvePages", 10, none),
    text("AveRSS", 10, used::average_rss),
    text("AveVMSize", 10, used::average_vm),
    text("BlockID", 16, none),
    text("Cluster", 10, |row| row.setting.view.cluster.clone()),
    text("Comment", 14, |row| row.of_job(|r| r.comment.clone())),
    text("Constraints", 19, |row| row.of_job(job::features)),
    text("ConsumedEnergy", 14, energy),
    number("ConsumedEnergyRaw", 17, energy),
    text("Container", 19, none),
    text("CPUTime", 10, |row| clock::long_span(cpu_time_seconds(row))),
    number("CPUTimeRAW", 10, |row| cpu_time_seconds(row).to_string()),
    number("DBIndex", -21, |row| row.job.raw_job.to_string()),
    text("DerivedExitCode", 15, |row| row.of_job(derived_exit)),
    text("Elapsed", 10, |row| clock::long_span(row.elapsed())),
    number("ElapsedRaw", 10, |row| row.elapsed().to_string()),
    date("Eligible", 19, eligible),
    date("End", 19, |row| moment(row, row.end_ms())),
    text("ExitCode", 8, Row::exit_code),
    text("Extra", 14, none),
    text("FailedNode", 8, none),
    text("Flags", 19, flags),
    number("GID", 6, |row| row.of_job(|r| r.gid.to_string())),
    text("Group", 9, |row| row.of_job(|r| r.group.clone())),
    text("JobID", -12, Row::id),
    text("JobIDRaw", -12, Row::raw_id),
    text("JobName", 10, Row::name),
    text("Layout", 9, layout),
    text("Licenses", 10, none),
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
    text("McsLabel", 12, none),
    text("MinCPU", 10, used::min_cpu),
    text("MinCPUNode", 10, used::min_cpu_node),
    number("MinCPUTask", 10, used::min_cpu_task),
    number("NCPUS", 10, cpus),
    number("NNodes", 8, node_count),
    text("NodeList", 15, nodes),
    number("NTasks", 8, |row| row.tasks().map_or_else(String::new, |tasks| tasks.to_string())),
    text("Partition", 10, |row| row.of_job(|r| r.pool.clone())),
    text("Planned", 10, planned),
    text("PlannedCPU", 10, planned_cpu),
    number("PlannedCPURAW", 13, planned_cpu_raw),
    number("Priority", 10, |row| row.of_job(|r| job::priority(r).to_string())),
    text("QOS", 10, |row| row.of_job(|r| job::qos(r).to_owned())),
    number("QOSRAW", 6, |row| row.of_job(|_| "1".to_owned())),
    text("Reason", 22, why),
    text("ReqCPUFreq", 10, frequency),
    text("ReqCPUFreqGov", 13, frequency),
    text("ReqCPUFreqMax", 13, frequency),
    text("ReqCPUFreqMin", 13, frequency),
    number("ReqCPUS", 8, |row| match &row.part {
        Part::Job => job::asked_cpus(&row.job).to_string(),
        _ => cpus(row),
    }),
    text("ReqMem", 10, asked_memory),
    text("ReqNodes", 8, |row| match &row.part {
        Part::Job => row.job.nodes.to_string(),
        _ => row.nodes().len().to_string(),
    }),
    text("ReqTRES", 10, |row| row.of_job(job::asked_tres)),
    text("Reservation", 20, none),
    number("ReservationId", 8, none),
    text("Reserved", 10, planned),
    number("Restarts", 8, restarts),
    text("ResvCPU", 10, planned_cpu),
    number("ResvCPURAW", 10, planned_cpu_raw),
    date("Start", 19, start),
    text("State", 10, Row::state),
    text("StdErr", 20, error_file),
    text("StdIn", 20, |row| row.of_job(|r| row.setting.view.file(&r.input, r))),
    text("StdOut", 20, |row| row.of_job(|r| row.setting.view.output_of(r))),
    date("Submit", 19, submitted),
    text("SubmitLine", 20, |row| row.of_job(|r| r.submit_line.clone())),
    text("Suspended", 10, |row| clock::long_span(job::suspended_seconds(&row.job))),
    text("SystemComment", 15, none),
    text("SystemCPU", 10, |row| clock::cpu_span(row.cpu_ms().1)),
    text("Timelimit", 10, limit),
    text("TimelimitRaw", 10, limit_minutes),
    text("TotalCPU", 10, |row| clock::cpu_span(total_cpu_ms(row))),
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
    number("UID", 6, |row| row.of_job(|r| r.uid.to_string())),
    text("User", 9, |row| row.of_job(|r| r.user.clone())),
    text("UserCPU", 10, |row| clock::cpu_span(row.cpu_ms().0)),
    text("WCKey", 10, none),
    number("WCKeyID", 10, |row| row.of_job(|_| "0".to_owned())),
    text("WorkDir", 20, |row| row.of_job(|r| r.work_dir.clone())),
];

pub const BRIEF: &str = "jobid,state,exitcode";
pub const DEFAULT: &str = "jobid,jobname,partition,account,alloccpus,state,exitcode";
pub const LONG: &str = "jobid,jobidraw,jobname,partition,maxvmsize,maxvmsizenode,maxvmsizetask,\
avevmsize,maxrss,maxrssnode,maxrsstask,averss,maxpages,maxpagesnode,maxpagestask,avepages,mincpu,\
mincpunode,mincputask,avecpu,ntasks,alloccpus,elapsed,state,exitcode,avecpufreq,reqcpufreqmin,\
reqcpufreqmax,reqcpufreqgov,reqmem,consumedenergy,maxdiskread,maxdiskreadnode,maxdiskreadtask,\
avediskread,maxdiskwrite,maxdiskwritenode,maxdiskwritetask,avediskwrite,reqtres,alloctres,\
tresusageinave,tresusageinmax,tresusageinmaxn,tresusageinmaxt,tresusageinmin,tresusageinminn,\
tresusageinmint,tresusageintot,tresusageoutmax,tresusageoutmaxn,tresusageoutmaxt,tresusageoutave,\
tresusageouttot";

//! Every field of `squeue` for jobs: its letter for `-o`, its name for `-O`, its heading, its value.
//!
//! Invariant: the table is complete; what pcluster has nothing of shows what Slurm shows for a job
//! that does not use it. Deliberately absent: fields of steps (`steps`).
use super::View;
use crate::words::columns::Cell;
use crate::words::{State, clock, hosts, job, state};
use pcluster_api::JobRecord;

/// One field.
#[derive(Debug)]
pub struct Field {
    /// For `-O`, in lower case.
    pub name: &'static str,
    /// For `-o`; a space where it has none.
    pub letter: char,
    pub heading: &'static str,
    pub value: fn(&JobRecord, &View) -> Cell,
}

const fn f(
    name: &'static str,
    letter: char,
    heading: &'static str,
    value: fn(&JobRecord, &View) -> Cell,
) -> Field {
    Field { name, letter, heading, value }
}

fn cell(text: impl Into<String>) -> Cell {
    Cell::from(text)
}

fn null(_: &JobRecord, _: &View) -> Cell {
    cell("(null)")
}

fn na(_: &JobRecord, _: &View) -> Cell {
    cell("N/A")
}

fn no_federation(_: &JobRecord, _: &View) -> Cell {
    cell("NA")
}

fn star(_: &JobRecord, _: &View) -> Cell {
    cell("*")
}

fn zero(_: &JobRecord, _: &View) -> Cell {
    cell("0")
}

/// A list of nodes, which is never cut on the right side.
fn nodes(names: &[String]) -> Cell {
    Cell::whole(hosts::fold_sorted(names))
}

fn reason_or_nodes(r: &JobRecord, _: &View) -> Cell {
    match State::of(r) {
        State::Pending | State::Timeout | State::OutOfMemory | State::Deadline | State::Failed => {
            cell(format!("({})", state::reason(r)))
        }
        // Its node boots.
        State::Configuring if r.node_names.is_empty() => cell(format!("({})", state::reason(r))),
        _ => nodes(&r.node_names),
    }
}

fn executing_host(r: &JobRecord) -> String {
    r.node_names.first().cloned().unwrap_or_else(|| "n/a".to_owned())
}

fn span(seconds: Option<i64>) -> Cell {
    Cell::whole(seconds.map_or_else(|| "UNLIMITED".to_owned(), clock::short_span))
}

fn time_left(r: &JobRecord, view: &View) -> Cell {
    let limit = job::limit_seconds(r);
    span(limit.map(|limit| (limit - job::run_seconds(r, &view.clock)).max(0)))
}

fn end_time(r: &JobRecord, view: &View) -> Cell {
    if job::limit_seconds(r).is_none() && r.ended_at_ms.is_none() && !job::waits(r) {
        return cell("NONE");
    }
    cell(view.clock.date_or(job::expected_end_ms(r), "N/A"))
}

fn oversubscribe(r: &JobRecord, _: &View) -> Cell {
    cell(if r.exclusive { "NO" } else { "OK" })
}

fn pending_seconds(r: &JobRecord, view: &View) -> Cell {
    let until = job::start_ms(r).or(r.ended_at_ms).unwrap_or(view.clock.now_ms);
    cell((until.div_euclid(1000) - r.submitted_at_ms.div_euclid(1000)).max(0).to_string())
}

fn tasks_per_node(r: &JobRecord, _: &View) -> Cell {
    cell(r.ntasks_per_node.unwrap_or(0).to_string())
}

fn error_file(r: &JobRecord, view: &View) -> Cell {
    cell(if r.error.is_empty() { view.output_of(r) } else { view.file(&r.error, r) })
}

fn features(r: &JobRecord, _: &View) -> Cell {
    cell(job::or_null(&job::features(r)))
}

fn restarts(r: &JobRecord, _: &View) -> Cell {
    cell(r.attempt.saturating_sub(u32::from(!job::waits(r))).to_string())
}

/// All of them.
pub const FIELDS: &[Field] = &[
    f("account", 'a', "ACCOUNT", |r, _| cell(job::or_null(&r.account))),
    f("accruetime", ' ', "ACCRUE_TIME", |r, v| cell(v.clock.date_or(job::eligible_ms(r), "N/A"))),
    f("admin_comment", ' ', "ADMIN_COMMENT", null),
    f("allocnodes", ' ', "ALLOC_NODES", |r, _| cell(job::or_null(&r.submit_host))),
    f("allocsid", ' ', "ALLOC_SID", zero),
    f("arrayjobid", 'F', "ARRAY_JOB_ID", |r, _| cell(r.job.to_string())),
    f("arraytaskid", 'K', "ARRAY_TASK_ID", |r, _| {
        cell(job::tasks(r).unwrap_or_else(|| "N/A".to_owned()))
    }),
    f("associd", ' ', "ASSOC_ID", zero),
    f("batchflag", ' ', "BATCH_FLAG", |r, _| cell(if super::is_batch(r) { "1" } else { "0" })),
    f("batchhost", 'B', "EXEC_HOST", |r, _| cell(executing_host(r))),
    f("boardspernode", ' ', "BOARDS_PER_NODE", zero),
    f("burstbuffer", ' ', "BURST_BUFFER", null),
    f("burstbufferstate", ' ', "BURST_BUFFER_STATE", null),
    f("cluster", ' ', "CLUSTER", |_, v| cell(v.cluster.clone())),
    f("clusterfeature", ' ', "CLUSTER_FEATURES", null),
    f("command", 'o', "COMMAND", |r, _| {
        cell(job::command(r).unwrap_or_else(|| "(null)".to_owned()))
    }),
    f("comment", 'k', "COMMENT", |r, _| cell(job::or_null(&r.comment))),
    f("container", ' ', "CONTAINER", null),
    f("containerid", ' ', "CONTAINERID", null),
    f("contiguous", 'O', "CONTIGUOUS", zero),
    f("cores", 'I', "CORES_PER_SOCKET", star),
    f("corespec", 'X', "CORE_SPEC", na),
    f("cpus-per-task", ' ', "CPUS_PER_TASK", |r, _| cell(r.cpus_per_task.to_string())),
    f("cpuspertask", ' ', "CPUS_PER_TASK", |r, _| cell(r.cpus_per_task.to_string())),
    f("cpus-per-tres", ' ', "CPUS_PER_TRES", na),
    f("cpufreq", ' ', "CPU_FREQ", null),
    f("deadline", ' ', "DEADLINE", |r, v| cell(v.clock.date_or(r.deadline_ms, "N/A"))),
    f("delayboot", ' ', "DELAY_BOOT", |_, _| cell("0:00")),
    f("dependency", 'E', "DEPENDENCY", |r, _| {
        cell(job::dependency(r).unwrap_or_else(|| "(null)".to_owned()))
    }),
    f("derivedec", ' ', "DERIVED_EC", |r, _| cell(super::derived_exit(r))),
    f("eligibletime", ' ', "ELIGIBLE_TIME", |r, v| {
        cell(v.clock.date_or(job::eligible_ms(r), "N/A"))
    }),
    f("endtime", 'e', "END_TIME", end_time),
    f("exit_code", ' ', "EXIT_CODE", |r, _| cell(state::exit_words(state::exit_of(r)))),
    f("feature", 'f', "FEATURES", features),
    f("gres", ' ', "TRES_PER_NODE", tres_per_node),
    f("groupid", 'G', "GROUP", |r, _| cell(r.gid.to_string())),
    f("groupname", 'g', "GROUP", |r, _| cell(r.group.clone())),
    f("hetjobid", ' ', "HET_JOB_ID", na),
    f("hetjobidset", ' ', "HET_JOB_ID_SET", na),
    f("hetjoboffset", ' ', "HET_JOB_OFFSET", na),
    f("jobarrayid", 'i', "JOBID", |r, _| cell(job::id(r))),
    f("jobid", 'A', "JOBID", |r, _| cell(r.raw_job.to_string())),
    f("lastschedeval", ' ', "LAST_SCHED_EVAL", |r, v| {
        let seen = job::start_ms(r).unwrap_or(v.clock.now_ms);
        cell(v.clock.date(seen))
    }),
    f("licenses", 'W', "LICENSES", null),
    f("maxcpus", ' ', "MAX_CPUS", |r, _| cell(job::cpus(r).to_string())),
    f("maxnodes", ' ', "MAX_NODES", |r, _| cell(job::node_count(r).to_string())),
    f("mcslabel", ' ', "MCSLABEL", null),
    f("mem-per-tres", ' ', "MEM_PER_TRES", na),
    f("mincpus", 'c', "MIN_CPUS", |r, _| cell(job::least_cpus(r).to_string())),
    f("minmemory", 'm', "MIN_MEMORY", |r, v| cell(v.memory(job::least_memory(r).0))),
    f("mintime", ' ', "TIME_MIN", |_, _| cell("0:00")),
    f("mintmpdisk", 'd', "MIN_TMP_DISK", |r, v| cell(v.memory(r.tmp_bytes))),
    f("name", 'j', "NAME", |r, _| cell(r.name.clone())),
    f("network", ' ', "NETWORK", null),
    f("nice", 'y', "NICE", |r, _| cell(job::nice(r).to_string())),
    f("nodelist", 'N', "NODELIST", |r, _| nodes(&r.node_names)),
    f("nodes", ' ', "NODELIST", |r, _| nodes(&r.node_names)),
    f("ntperboard", ' ', "NTASKS_PER_BOARD", zero),
    f("ntpercore", ' ', "NTASKS_PER_CORE", na),
    f("ntpernode", ' ', "NTASKS_PER_NODE", tasks_per_node),
    f("ntpersocket", ' ', "NTASKS_PER_SOCKET", na),
    f("numcpus", 'C', "CPUS", |r, _| cell(job::cpus(r).to_string())),
    f("numnodes", 'D', "NODES", |r, _| cell(job::node_count(r).to_string())),
    f("numtasks", ' ', "TASKS", |r, _| cell(r.ntasks.to_string())),
    f("numtask", ' ', "TASKS", |r, _| cell(r.ntasks.to_string())),
    f("origin", ' ', "ORIGIN", no_federation),
    f("originraw", ' ', "ORIGIN_RAW", no_federation),
    f("oversubscribe", 'h', "OVER_SUBSCRIBE", oversubscribe),
    f("packjobid", ' ', "HET_JOB_ID", na),
    f("partition", 'P', "PARTITION", |r, _| cell(r.pool.clone())),
    f("pendingtime", ' ', "PENDING_TIME", pending_seconds),
    f("preempttime", ' ', "PREEMPT_TIME", na),
    f("prefer", ' ', "PREFER", null),
    f("priority", 'p', "PRIORITY", |r, _| cell(share_of_highest(r))),
    f("prioritylong", 'Q', "PRIORITY", |r, _| cell(job::priority(r).to_string())),
    f("profile", ' ', "PROFILE", |_, _| cell("NotSet")),
    f("qos", 'q', "QOS", |r, _| cell(job::qos(r))),
    f("reason", 'r', "REASON", |r, _| cell(state::reason(r))),
    f("reasonlist", 'R', "NODELIST(REASON)", reason_or_nodes),
    f("reboot", ' ', "REBOOT", zero),
    f("reqnodes", 'n', "REQ_NODES", |r, _| nodes(&r.only_nodes)),
    f("reqswitch", ' ', "REQ_SWITCH", zero),
    f("requeue", ' ', "REQUEUE", |r, _| cell(if r.requeue { "1" } else { "0" })),
    f("reservation", 'v', "RESERVATION", null),
    f("resizetime", ' ', "RESIZE_TIME", na),
    f("restartcnt", ' ', "RESTART_COUNT", restarts),
    f("schednodes", 'Y', "SCHEDNODES", null),
    f("sct", 'z', "S:C:T", |_, _| cell("*:*:*")),
    f("selectjobinfo", 's', "SELECT_JOBINFO", |_, _| cell("")),
    f("shared", ' ', "OVER_SUBSCRIBE", oversubscribe),
    f("siblingsactive", ' ', "ACTIVE_SIBLINGS", no_federation),
    f("siblingsactiveraw", ' ', "ACTIVE_SIBLINGS_RAW", no_federation),
    f("siblingsviable", ' ', "VIABLE_SIBLINGS", no_federation),
    f("siblingsviableraw", ' ', "VIALBLE_SIBLINGS_RAW", no_federation),
    f("sockets", 'H', "SOCKETS_PER_NODE", star),
    f("sperboard", ' ', "SOCKETS_PER_BOARD", zero),
    f("starttime", 'S', "START_TIME", |r, v| {
        cell(v.clock.date_or(job::expected_start_ms(r), "N/A"))
    }),
    f("state", 'T', "STATE", |r, _| cell(State::of(r).long())),
    f("statecompact", 't', "ST", |r, _| cell(State::of(r).compact())),
    f("stderr", ' ', "STDERR", error_file),
    f("stdin", ' ', "STDIN", |r, v| cell(v.file(&r.input, r))),
    f("stdout", ' ', "STDOUT", |r, v| cell(v.output_of(r))),
    f("submittime", 'V', "SUBMIT_TIME", |r, v| cell(v.clock.date(r.submitted_at_ms))),
    f("system_comment", ' ', "SYSTEM_COMMENT", null),
    f("threads", 'J', "THREADS_PER_CORE", star),
    f("timeleft", 'L', "TIME_LEFT", time_left),
    f("timelimit", 'l', "TIME_LIMIT", |r, _| span(job::limit_seconds(r))),
    f("timeused", 'M', "TIME", |r, v| span(Some(job::run_seconds(r, &v.clock)))),
    f("tres", ' ', "TRES_ALLOC", |r, _| cell(job::tres(r))),
    f("tres-alloc", ' ', "TRES_ALLOC", |r, _| cell(job::tres(r))),
    f("tres-bind", ' ', "TRES_BIND", na),
    f("tres-freq", ' ', "TRES_FREQ", na),
    f("tres-per-job", ' ', "TRES_PER_JOB", na),
    f("tres-per-node", 'b', "TRES_PER_NODE", tres_per_node),
    f("tres-per-socket", ' ', "TRES_PER_SOCKET", na),
    f("tres-per-step", ' ', "TRES_PER_STEP", na),
    f("tres-per-task", ' ', "TRES_PER_TASK", na),
    f("userid", 'U', "UID", |r, _| cell(r.uid.to_string())),
    f("username", 'u', "USER", |r, _| cell(r.user.clone())),
    f("wait4switch", ' ', "WAIT4SWITCH", |_, _| cell("0:00")),
    f("wckey", 'w', "WCKEY", null),
    f("workdir", 'Z', "WORK_DIR", |r, _| cell(job::or_null(&r.work_dir))),
    f("excnodes", 'x', "EXC_NODES", |r, _| nodes(&r.not_nodes)),
    f("packjoboffset", ' ', "HET_JOB_OFFSET", na),
];

fn tres_per_node(r: &JobRecord, _: &View) -> Cell {
    cell(job::tres_per_node(r).unwrap_or_else(|| "N/A".to_owned()))
}

/// `0.99999998137355`: the priority as a part of the highest there could be.
fn share_of_highest(r: &JobRecord) -> String {
    format!("{:.14}", f64::from(job::priority(r)) / f64::from(u32::MAX))
}

fn all() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter()
}

/// The field of a letter.
#[must_use]
pub fn by_letter(letter: char) -> Option<&'static Field> {
    all().find(|field| field.letter == letter && letter != ' ')
}

/// The field of a name in lower case.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Field> {
    all().find(|field| field.name == name)
}

/// The names of all fields.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|field| field.name)
}

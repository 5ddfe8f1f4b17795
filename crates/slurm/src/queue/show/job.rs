//! `scontrol show job` and `show step`.
//!
//! Invariant: every key of the real one, in its order. Deliberately absent: `CPU_IDs` of `-d` (a
//! job has a share of its node's CPU time and no CPUs of its own).
use super::lines::Lines;
use crate::queue::squeue::{View, derived_exit, is_batch};
use crate::words::{State, clock, hosts, job, size, state};
use pcluster_api::{JobRecord, StepRecord};

fn null(text: Option<String>) -> String {
    text.unwrap_or_else(|| "(null)".to_owned())
}

fn list_or_null(names: &[String]) -> String {
    job::or_null(&hosts::fold_sorted(names))
}

/// One record.
#[must_use]
pub fn job(r: &JobRecord, view: &View, one_line: bool, detail: bool) -> String {
    let mut lines = Lines::default();
    lines.push(first(r));
    who_and_state(r, &mut lines);
    if detail {
        lines.push(format!("DerivedExitCode={}", derived_exit(r)));
    }
    times(r, view, &mut lines);
    places(r, &mut lines);
    if detail {
        lines.push(format!("JOB_GRES={}", null(gres(r))));
        lines.lines_of_nodes(r);
    }
    limits(r, &mut lines);
    files(r, view, &mut lines);
    lines.text(one_line, "   \n\n")
}

fn first(r: &JobRecord) -> String {
    let array = job::tasks(r).map(|tasks| {
        let throttle = r.throttle.map(|limit| format!(" ArrayTaskThrottle={limit}"));
        format!(" ArrayJobId={} ArrayTaskId={tasks}{}", r.job, throttle.unwrap_or_default())
    });
    format!("JobId={}{} JobName={}", r.raw_job, array.unwrap_or_default(), r.name)
}

fn who_and_state(r: &JobRecord, lines: &mut Lines) {
    lines
        .push(format!("UserId={}({}) GroupId={}({}) MCS_label=N/A", r.user, r.uid, r.group, r.gid));
    lines.push(format!(
        "Priority={} Nice={} Account={} QOS={}",
        job::priority(r),
        job::nice(r),
        r.account,
        job::qos(r)
    ));
    lines.push(format!(
        "JobState={} Reason={} Dependency={}",
        State::of(r).long(),
        state::reason(r),
        null(job::dependency(r))
    ));
    // The first attempt is no restart; one that waits again has had its attempts.
    let restarts = r.attempt.saturating_sub(u32::from(!job::waits(r)));
    lines.push(format!(
        "Requeue={} Restarts={restarts} BatchFlag={} Reboot=0 ExitCode={}",
        u8::from(r.requeue),
        u8::from(is_batch(r)),
        state::exit_words(state::exit_of(r))
    ));
}

fn times(r: &JobRecord, view: &View, lines: &mut Lines) {
    let clock = &view.clock;
    let limit = job::limit_seconds(r).map_or_else(|| "UNLIMITED".to_owned(), clock::long_span);
    lines.push(format!(
        "RunTime={} TimeLimit={limit} TimeMin=N/A",
        clock::long_span(job::run_seconds(r, clock))
    ));
    let eligible = clock.date_or(job::eligible_ms(r), "Unknown");
    lines.push(format!("SubmitTime={} EligibleTime={eligible}", clock.date(r.submitted_at_ms)));
    lines.push(format!("AccrueTime={eligible}"));
    lines.push(format!(
        "StartTime={} EndTime={} Deadline={}",
        clock.date_or(job::expected_start_ms(r), "Unknown"),
        clock.date_or(job::expected_end_ms(r), "Unknown"),
        clock.date_or(r.deadline_ms, "N/A")
    ));
    let seen = job::start_ms(r).unwrap_or(clock.now_ms);
    lines.push(format!(
        "SuspendTime=None SecsPreSuspend=0 LastSchedEval={} Scheduler=Main",
        clock.date(seen)
    ));
}

fn places(r: &JobRecord, lines: &mut Lines) {
    let host = if r.submit_host.is_empty() { "localhost" } else { &r.submit_host };
    lines.push(format!("Partition={} AllocNode:Sid={host}:0", r.pool));
    lines.push(format!(
        "ReqNodeList={} ExcNodeList={}",
        list_or_null(&r.only_nodes),
        list_or_null(&r.not_nodes)
    ));
    lines.push(format!("NodeList={}", job::node_list(r)));
    lines.push_some(r.node_names.first().map(|name| format!("BatchHost={name}")));
    lines.push(format!(
        "NumNodes={} NumCPUs={} NumTasks={} CPUs/Task={} ReqB:S:C:T=0:0:*:*",
        job::node_count(r),
        job::cpus(r),
        r.ntasks,
        r.cpus_per_task
    ));
    lines.push(format!("TRES={}", job::tres(r)));
    lines.push(format!(
        "Socks/Node=* NtasksPerN:B:S:C={}:0:*:* CoreSpec=*",
        r.ntasks_per_node.unwrap_or(0)
    ));
}

fn gres(r: &JobRecord) -> Option<String> {
    job::tres_per_node(r).map(|gres| gres.trim_start_matches("gres:").to_owned())
}

impl Lines {
    /// What each node gives; nodes that give the same share a line.
    fn lines_of_nodes(&mut self, r: &JobRecord) {
        let mut groups: Vec<((u32, u64), Vec<String>)> = Vec::new();
        for (at, name) in r.node_names.iter().enumerate() {
            let cpus = r.cpus_per_node.get(at).copied().unwrap_or(0);
            let memory = r.memory_per_node_bytes.get(at).copied().unwrap_or(0);
            match groups.iter_mut().find(|(gives, _)| *gives == (cpus, memory)) {
                Some((_, names)) => names.push(name.clone()),
                None => groups.push(((cpus, memory), vec![name.clone()])),
            }
        }
        for ((_, memory), names) in groups {
            self.push(format!(
                "  Nodes={} Mem={} GRES={}",
                hosts::fold_sorted(&names),
                size::mebibytes(memory),
                gres(r).unwrap_or_default()
            ));
        }
    }
}

fn limits(r: &JobRecord, lines: &mut Lines) {
    let (memory, per_cpu) = job::least_memory(r);
    lines.push(format!(
        "MinCPUsNode={} MinMemory{}={} MinTmpDiskNode={}",
        job::least_cpus(r),
        if per_cpu { "CPU" } else { "Node" },
        size::memory(memory),
        size::memory(r.tmp_bytes)
    ));
    lines.push(format!("Features={} DelayBoot=00:00:00", job::or_null(&job::features(r))));
    lines.push(format!(
        "OverSubscribe={} Contiguous=0 Licenses=(null) Network=(null)",
        if r.exclusive { "NO" } else { "OK" }
    ));
}

fn files(r: &JobRecord, view: &View, lines: &mut Lines) {
    lines.push(format!("Command={}", null(job::command(r))));
    lines.push(format!("WorkDir={}", r.work_dir));
    lines.push_some((!r.comment.is_empty()).then(|| format!("Comment={} ", r.comment)));
    if is_batch(r) {
        let error = if r.error.is_empty() { view.output_of(r) } else { view.file(&r.error, r) };
        lines.push(format!("StdErr={error}"));
        lines.push(format!("StdIn={}", view.file(&r.input, r)));
        lines.push(format!("StdOut={}", view.output_of(r)));
    }
    lines.push("Power=");
    lines.push_some(job::tres_per_node(r).map(|gres| format!("TresPerNode={gres}")));
}

/// One step.
#[must_use]
pub fn step(r: &JobRecord, step: &StepRecord, view: &View, one_line: bool) -> String {
    let mut lines = Lines::default();
    let limit = job::limit_seconds(r).map_or_else(|| "UNLIMITED".to_owned(), clock::long_span);
    lines.push(format!(
        "StepId={}.{} UserId={} StartTime={} TimeLimit={limit}",
        job::id(r),
        step.step,
        r.uid,
        view.clock.date(step.started_at_ms)
    ));
    lines.push(format!(
        "State=RUNNING Partition={} NodeList={}",
        r.pool,
        hosts::fold_sorted(&step.node_names)
    ));
    lines.push(format!(
        "Nodes={} CPUs={} Tasks={} Name={} Network=(null)",
        step.node_names.len(),
        step.cpus,
        step.ntasks,
        step.name
    ));
    lines.push(format!("TRES=cpu={},node={}", step.cpus, step.node_names.len()));
    lines.push("ResvPorts=(null)");
    lines.push("CPUFreqReq=Default Dist=Block");
    lines.text(one_line, "\n")
}

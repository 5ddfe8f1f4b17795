//! `squeue -s`: the steps that run.
//!
//! Invariant: only steps that have not ended, with the batch step last, as Slurm lists them.
//! Deliberately absent: steps of jobs that wait (there are none).
use super::{Format, View, Wanted};
use crate::words::columns::{self, Cell};
use crate::words::jobid::{JobId, StepId};
use crate::words::{clock, hosts, job};
use pcluster_api::{JobRecord, StepRecord};

/// What is printed where nothing is said.
const DEFAULT: &str = "%.15i %.8j %.9P %.8u %.9M %N";

/// A step with its job; `step` is `None` for the batch script.
struct Row<'a> {
    job: &'a JobRecord,
    step: Option<&'a StepRecord>,
}

struct Field {
    name: &'static str,
    letter: char,
    heading: &'static str,
    value: fn(&Row<'_>, &View) -> Cell,
}

const fn f(
    name: &'static str,
    letter: char,
    heading: &'static str,
    value: fn(&Row<'_>, &View) -> Cell,
) -> Field {
    Field { name, letter, heading, value }
}

fn null(_: &Row<'_>, _: &View) -> Cell {
    Cell::from("(null)")
}

const FIELDS: &[Field] = &[
    f("numtasks", 'A', "TASKS", |row, _| {
        Cell::from(row.step.map_or(1, |step| step.ntasks).to_string())
    }),
    f("gres", 'b', "TRES_PER_JOB", null),
    f("stepid", 'i', "STEPID", |row, _| Cell::from(row.id())),
    f("stepname", 'j', "NAME", |row, _| {
        Cell::from(row.step.map_or("batch", |step| step.name.as_str()))
    }),
    f("timelimit", 'l', "TIME_LIMIT", |row, _| {
        let limit = job::limit_seconds(row.job);
        Cell::whole(limit.map_or_else(|| "UNLIMITED".to_owned(), clock::short_span))
    }),
    f("timeused", 'M', "TIME", |row, view| {
        let passed = view.clock.now_ms.div_euclid(1000) - row.started_ms().div_euclid(1000);
        Cell::whole(clock::short_span(passed.max(0)))
    }),
    f("nodes", 'N', "NODELIST", |row, _| Cell::whole(hosts::fold_sorted(row.nodes()))),
    f("partition", 'P', "PARTITION", |row, _| Cell::from(row.job.pool.as_str())),
    f("starttime", 'S', "START_TIME", |row, view| Cell::from(view.clock.date(row.started_ms()))),
    f("userid", 'U', "UID", |row, _| Cell::from(row.job.uid.to_string())),
    f("username", 'u', "USER", |row, _| Cell::from(row.job.user.as_str())),
    f("arrayjobid", ' ', "ARRAY_JOB_ID", |row, _| Cell::from(row.job.job.to_string())),
    f("arraytaskid", ' ', "ARRAY_TASK_ID", |row, _| {
        Cell::from(row.job.task.map_or_else(|| "N/A".to_owned(), |task| task.to_string()))
    }),
    f("jobid", ' ', "JOB_ID", |row, _| Cell::from(row.job.raw_job.to_string())),
    f("cluster", ' ', "CLUSTER", |_, view| Cell::from(view.cluster.as_str())),
    f("numcpus", ' ', "NUM_CPUS", |row, _| {
        let cpus = row.step.map_or_else(|| job::cpus(row.job), |step| step.cpus.into());
        Cell::from(cpus.to_string())
    }),
    f("stepstate", ' ', "STATE", |_, _| Cell::from("RUNNING")),
    f("network", ' ', "NETWORK", null),
    f("cpufreq", ' ', "CPU_FREQ", null),
    f("resvports", ' ', "RESERVED_PORTS", null),
    f("container", ' ', "CONTAINER", null),
    f("containerid", ' ', "CONTAINERID", null),
    f("cpus-per-tres", ' ', "CPUS_PER_TRES", null),
    f("mem-per-tres", ' ', "MEM_PER_TRES", null),
    f("tres-bind", ' ', "TRES_BIND", null),
    f("tres-freq", ' ', "TRES_FREQ", null),
    f("tres-per-job", ' ', "TRES_PER_STEP", null),
    f("tres-per-step", ' ', "TRES_PER_STEP", null),
    f("tres-per-node", ' ', "TRES_PER_JOB", null),
    f("tres-per-socket", ' ', "TRES_PER_SOCKET", null),
    f("tres-per-task", ' ', "TRES_PER_TASK", null),
];

impl Row<'_> {
    fn id(&self) -> String {
        let step = self.step.map_or_else(|| "batch".to_owned(), |step| step.step.to_string());
        format!("{}.{step}", job::id(self.job))
    }

    fn started_ms(&self) -> i64 {
        let own = self.step.map(|step| step.started_at_ms);
        own.or_else(|| job::start_ms(self.job)).unwrap_or(0)
    }

    fn nodes(&self) -> &[String] {
        match self.step {
            Some(step) => &step.node_names,
            None => self.job.node_names.get(..1).unwrap_or(&[]),
        }
    }

    fn is_meant(&self, ids: &[JobId]) -> bool {
        let step = |id: &JobId| match (id.step, self.step) {
            (None, _) | (Some(StepId::Batch), None) => true,
            (Some(StepId::Number(number)), Some(step)) => step.step == number,
            _ => false,
        };
        ids.is_empty() || ids.iter().any(|id| id.means(self.job) && step(id))
    }
}

/// The page of the steps that are meant.
pub fn page(records: &[JobRecord], ids: &[JobId], wanted: &Wanted, view: &View) -> String {
    let (format, _) = columns_of(wanted);
    let mut out = String::new();
    if wanted.header {
        out.push_str(&format.line(|field| Cell::from(field.heading)));
    }
    for record in records.iter().filter(|record| job::start_ms(record).is_some()) {
        if record.ended_at_ms.is_some() {
            continue;
        }
        let batch = super::is_batch(record).then_some(Row { job: record, step: None });
        let running = record.steps.iter().filter(|step| step.ended_at_ms.is_none());
        let steps = running.map(|step| Row { job: record, step: Some(step) });
        for row in steps.chain(batch).filter(|row| row.is_meant(ids)) {
            out.push_str(&format.line(|field| (field.value)(&row, view)));
        }
    }
    out
}

/// What to say about fields that are none.
pub fn complaints(wanted: &Wanted) -> String {
    let said =
        |word: String| format!("squeue: error: Invalid job step format specification: {word}\n");
    columns_of(wanted).1.into_iter().map(said).collect()
}

fn columns_of(wanted: &Wanted) -> (columns::Format<&'static Field>, Vec<String>) {
    let by_letter = |letter| FIELDS.iter().find(|field| field.letter == letter && letter != ' ');
    match &wanted.format {
        Format::Letters(text) if wanted.format_given => {
            let (format, unknown) = columns::Format::letters(text, by_letter);
            (format, unknown.into_iter().map(String::from).collect())
        }
        Format::Names(text) => {
            columns::Format::names(text, |name| FIELDS.iter().find(|field| field.name == name))
        }
        Format::Letters(_) => (columns::Format::letters(DEFAULT, by_letter).0, Vec::new()),
    }
}

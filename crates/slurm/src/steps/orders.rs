//! The orders for the parts of a step.
//!
//! Invariant: pure but for the caller's environment, which is handed in. Relative names of files are
//! made absolute here, where the caller's directory is known.
use super::asks::{Gpus, Source, StepAsk, Target};
use super::environment::{self, StepFacts};
use super::layout::{Layout, Placed};
use super::names::{Facts, Place, fill, is_per_task};
use pcluster_api::AllocationView;
use pcluster_model::job::MemoryAsk;
use pcluster_steps::message::{Input, LibraryOrder, Output, StepOrder, TaskOrder};
use std::collections::BTreeMap;

/// Where and as what this command runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    pub variables: Vec<(String, String)>,
    pub work_dir: String,
    pub umask: Option<u32>,
    pub soft_limits: Vec<(String, Option<u64>)>,
    pub host: String,
    /// Size of its terminal.
    pub terminal: (u16, u16),
}

/// What the letters in names of files stand for; `dir` is the tasks' own.
pub(super) fn facts(job: &AllocationView, step: u32, dir: &str) -> Facts {
    Facts {
        job: job.raw_job,
        array: job.task.map(|task| (job.job, task)),
        step,
        user: job.user.clone(),
        name: job.name.clone(),
        dir: dir.to_owned(),
    }
}

/// The directory of the tasks.
pub(super) fn work_dir(ask: &StepAsk, caller: &Caller) -> String {
    match &ask.chdir {
        Some(dir) => absolute(&caller.work_dir, dir),
        None => caller.work_dir.clone(),
    }
}

pub(super) fn absolute(base: &str, path: &str) -> String {
    std::path::Path::new(base).join(path).display().to_string()
}

/// One order for each node of the layout.
pub(super) fn orders(
    ask: &StepAsk,
    job: &AllocationView,
    layout: &Layout,
    step: u32,
    programs: &[Vec<String>],
    caller: &Caller,
) -> Vec<StepOrder> {
    let label = format!("{}.{step}", job.raw_job);
    let step_facts = StepFacts {
        step,
        cpus_per_task: ask.cpus_given.then_some(ask.layout.cpus_per_task),
        tasks_per_node: ask.layout.tasks_per_node,
        distribution: ask.layout.order.name(),
        label: ask.label,
        umask: caller.umask,
        host: caller.host.clone(),
        memory: ask.memory,
    };
    let exported = environment::exported(ask.export.as_deref(), caller.variables.iter().cloned());
    let shared = environment::of_step(exported, job, layout, &step_facts);
    let by_node: Vec<Vec<u32>> = layout.nodes.iter().map(|placed| placed.tasks.clone()).collect();
    let library = ask.library.then(|| LibraryOrder {
        name: label.clone(),
        size: layout.tasks(),
        mapping: pcluster_steps::pmi::mapping(&by_node),
    });
    let dir = work_dir(ask, caller);
    let maker = Maker { ask, names: facts(job, step, &dir), library: &library };
    let order = |index: usize| {
        let placed = &layout.nodes[index];
        let mut environment: BTreeMap<String, String> = shared.clone();
        environment.extend(environment::of_node(job, layout, index));
        let task = |(local, number): (usize, &u32)| {
            let place = Place {
                node: placed.node.clone(),
                node_index: u32::try_from(index).unwrap_or(0),
                task: *number,
            };
            maker.task(programs, local, &place)
        };
        StepOrder {
            run: job.run,
            step,
            label: label.clone(),
            rank: placed.rank,
            tasks: placed.tasks.iter().enumerate().map(task).collect(),
            environment: environment.into_iter().collect(),
            work_dir: dir.clone(),
            umask: caller.umask,
            soft_limits: caller.soft_limits.clone(),
            bind: ask.bind.clone(),
            cpus_per_task: ask.layout.cpus_per_task,
            node_cpus: job.parts.iter().find(|p| p.rank == placed.rank).map_or(1, |p| p.cpus),
            terminal: ask.pty.then_some(caller.terminal),
            unbuffered: ask.unbuffered,
            library: library.clone(),
            memory_bytes: memory_on(ask, job, placed),
            gpus: gpus_on(ask, layout, index),
            gpus_per_task: match ask.gpus {
                Some(Gpus::PerTask(count)) => Some(count),
                _ => None,
            },
            as_the_job: false,
        }
    };
    (0..layout.nodes.len()).map(order).collect()
}

/// GPUs of a step on one of its nodes; `None` where it asks for none of its own.
pub(super) fn gpus_on(ask: &StepAsk, layout: &Layout, index: usize) -> Option<u32> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(match ask.gpus? {
        Gpus::PerNode(count) => count,
        Gpus::PerTask(count) => {
            let tasks = layout.nodes.get(index).map_or(0, |placed| placed.tasks.len());
            count.saturating_mul(number(tasks))
        }
        // Evenly, the first ones more.
        Gpus::InAll(count) => {
            let nodes = number(layout.nodes.len()).max(1);
            count / nodes + u32::from(number(index) < count % nodes)
        }
    })
}

/// What the tasks of a step may take together on a node; `None` where the job's limit is enough.
fn memory_on(ask: &StepAsk, job: &AllocationView, placed: &Placed) -> Option<u64> {
    let has = job.parts.iter().find(|part| part.rank == placed.rank)?.memory_bytes;
    asked_memory(ask, placed).filter(|asked| has == 0 || *asked < has)
}

fn asked_memory(ask: &StepAsk, placed: &Placed) -> Option<u64> {
    let tasks = u64::try_from(placed.tasks.len()).unwrap_or(u64::MAX);
    let cpus = tasks.saturating_mul(ask.layout.cpus_per_task.into());
    match ask.memory {
        MemoryAsk::PerNode(bytes) => Some(bytes),
        MemoryAsk::PerCpu(bytes) => Some(bytes.saturating_mul(cpus)),
        _ => None,
    }
}

/// The first node that has less memory than the step asks for there.
pub(super) fn too_large(ask: &StepAsk, job: &AllocationView, layout: &Layout) -> Option<String> {
    let lacks = |placed: &&Placed| {
        let has = job.parts.iter().find(|part| part.rank == placed.rank);
        let has = has.map_or(0, |part| part.memory_bytes);
        has > 0 && asked_memory(ask, placed).is_some_and(|asked| asked > has)
    };
    layout.nodes.iter().find(lacks).map(|placed| placed.node.clone())
}

struct Maker<'a> {
    ask: &'a StepAsk,
    names: Facts,
    library: &'a Option<LibraryOrder>,
}

impl Maker<'_> {
    fn task(&self, programs: &[Vec<String>], local: usize, place: &Place) -> TaskOrder {
        let number = place.task;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        let argv = programs.get(at).or(programs.first()).cloned().unwrap_or_default();
        let output = self.output(&self.ask.output, place);
        let error = match &self.ask.error {
            Some(target) => self.output(target, place),
            None if output == Output::Client => Output::Client,
            None => Output::WithOutput,
        };
        let library = self.library.as_ref().map(|order| (order.name.as_str(), order.size));
        TaskOrder {
            number,
            argv: self.with_prologs(argv),
            environment: environment::of_task(number, local, library),
            input: self.input(place),
            output,
            error,
        }
    }

    fn input(&self, place: &Place) -> Input {
        match &self.ask.input {
            Source::All => Input::Client,
            Source::Task(only) if *only == place.task => Input::Client,
            Source::Task(_) | Source::Nothing => Input::Nothing,
            Source::File(pattern) if is_per_task(pattern) => {
                Input::File(fill(pattern, &self.names, place))
            }
            Source::File(_) => Input::Client,
        }
    }

    fn output(&self, target: &Target, place: &Place) -> Output {
        match target {
            // With labels the lines come here and are written here.
            Target::File(pattern) if is_per_task(pattern) => {
                Output::File { path: fill(pattern, &self.names, place), append: self.ask.append }
            }
            Target::Own | Target::File(_) => Output::Client,
            Target::Task(only) if *only == place.task => Output::Client,
            Target::Task(_) | Target::Nothing => Output::Nothing,
        }
    }

    /// `--task-prolog` and `--task-epilog` by a shell around the program.
    fn with_prologs(&self, argv: Vec<String>) -> Vec<String> {
        let [_, _, before, after] = &self.ask.prolog;
        if before.is_none() && after.is_none() {
            return argv;
        }
        let script = "[ -z \"$1\" ] || \"$1\"; after=$2; shift 2; \"$@\"; code=$?; \
                      [ -z \"$after\" ] || \"$after\"; exit $code";
        let mut words: Vec<String> = ["sh", "-c", script, "srun"].map(str::to_owned).to_vec();
        words.push(before.clone().unwrap_or_default());
        words.push(after.clone().unwrap_or_default());
        words.extend(argv);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::allocation;
    use super::*;
    use crate::options::{Order as Reading, SRUN, parse};
    use crate::steps::asks::step_ask;
    use crate::steps::layout::{Room, lay_out};

    fn asked(line: &[&str]) -> (StepAsk, AllocationView, Layout) {
        let args: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let ask = step_ask(&parse(&SRUN, &args, Reading::StopAtFirst).unwrap(), |_| None).unwrap();
        let job = allocation(&[2, 2]);
        let room = |part: &pcluster_api::PartView| Room {
            rank: part.rank,
            node: part.node.clone(),
            cpus: part.cpus,
        };
        let rooms: Vec<Room> = job.parts.iter().map(room).collect();
        let layout = lay_out(&rooms, &ask.layout).unwrap();
        (ask, job, layout)
    }

    #[test]
    fn memory_of_a_step_is_within_that_of_its_job() {
        // 200 MB and two CPUs on each node.
        let of = |line: &[&str]| {
            let (ask, job, layout) = asked(line);
            let limits = layout.nodes.iter().map(|placed| memory_on(&ask, &job, placed));
            (
                limits.map(|limit| limit.map(|bytes| bytes >> 20)).collect::<Vec<_>>(),
                too_large(&ask, &job, &layout),
            )
        };
        assert_eq!(of(&["-n3", "x"]), (vec![None, None], None));
        assert_eq!(of(&["-n3", "--mem=50", "x"]), (vec![Some(50), Some(50)], None));
        assert_eq!(of(&["-n3", "--mem-per-cpu=30", "x"]), (vec![Some(60), Some(30)], None));
        assert_eq!(of(&["-n1", "-c2", "--mem-per-cpu=30", "x"]), (vec![Some(60)], None));
        assert_eq!(of(&["-n3", "--mem=200", "x"]), (vec![None, None], None), "the job's own limit");
        assert_eq!(of(&["-n3", "--mem-per-cpu=150", "x"]).1.as_deref(), Some("c1"));
        let told = |line: &[&str]| {
            let environment: BTreeMap<_, _> =
                made(line).into_iter().flat_map(|order| order.environment).collect();
            let of = |name: &str| environment.get(name).cloned().unwrap_or_default();
            (of("SLURM_MEM_PER_NODE"), of("SLURM_MEM_PER_CPU"))
        };
        assert_eq!(told(&["x"]), ("200".into(), String::new()), "the job's");
        assert_eq!(told(&["--mem=50", "x"]), ("50".into(), String::new()));
        assert_eq!(told(&["--mem-per-cpu=30", "x"]), (String::new(), "30".into()));
    }

    #[test]
    fn gpus_of_a_step_are_spread_over_its_nodes() {
        let of = |line: &[&str]| {
            let orders = made(line);
            orders.iter().map(|order| (order.gpus, order.gpus_per_task)).collect::<Vec<_>>()
        };
        assert_eq!(of(&["-n3", "x"]), [(None, None), (None, None)]);
        assert_eq!(of(&["-n3", "--gpus=3", "x"]), [(Some(2), None), (Some(1), None)]);
        assert_eq!(of(&["-n3", "--gpus-per-node=a10g:2", "x"]), [(Some(2), None), (Some(2), None)]);
        assert_eq!(of(&["-n3", "--gres=gpu:1", "x"]), [(Some(1), None), (Some(1), None)]);
        assert_eq!(
            of(&["-n3", "--gpus-per-task=1", "x"]),
            [(Some(2), Some(1)), (Some(1), Some(1))]
        );
        assert_eq!(of(&["-n1", "--gres=none", "x"]), [(Some(0), None)]);
    }

    fn made(line: &[&str]) -> Vec<StepOrder> {
        let (ask, job, layout) = asked(line);
        let caller = Caller { work_dir: "/w".into(), umask: Some(0o77), ..Caller::default() };
        orders(&ask, &job, &layout, 3, std::slice::from_ref(&ask.command), &caller)
    }

    #[test]
    fn a_step_over_two_nodes() {
        let orders = made(&["-n", "3", "-D", "sub", "-o", "o.%t", "prog", "a"]);
        assert_eq!(orders.len(), 2);
        let (first, second) = (&orders[0], &orders[1]);
        assert_eq!((first.rank, first.tasks.len(), second.tasks.len()), (0, 2, 1));
        assert_eq!(first.work_dir, "/w/sub");
        let file = |n| Output::File { path: format!("/w/sub/o.{n}"), append: false };
        assert_eq!((&first.tasks[1].output, &second.tasks[0].output), (&file(1), &file(2)));
        assert_eq!(first.tasks[1].error, Output::WithOutput);
        assert_eq!(second.tasks[0].argv, ["prog", "a"]);
        let library = first.library.clone().unwrap();
        assert_eq!((library.size, library.mapping.as_str()), (3, "(vector,(0,1,2),(1,1,1))"));
        assert!(second.environment.contains(&("SLURM_NODEID".into(), "1".into())));
        assert_eq!(first.label, "169.3");
    }

    #[test]
    fn input_and_prologs() {
        let orders = made(&["-n", "2", "-i", "1", "--task-prolog=/p", "x"]);
        let tasks: Vec<&TaskOrder> = orders.iter().flat_map(|order| &order.tasks).collect();
        assert_eq!((&tasks[0].input, &tasks[1].input), (&Input::Nothing, &Input::Client));
        assert_eq!(tasks[0].argv[0], "sh");
        assert_eq!(&tasks[0].argv[4..], ["/p", "", "x"]);
    }
}

//! The command line of the simulator: `run` many seeds, `replay` one.
//!
//! Invariant: a failing seed prints exactly one command that tells its story again. Deliberately
//! absent: anything that a seed does not decide, except how long it took.
use crate::check;
use crate::plant::Plant;
use crate::say;
use crate::story::{self, Story};
use crate::trace::Aloud;
use crate::world::{Figures, Mode, World};
use crate::{Outcome, replay_command, run_seed, run_world};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use pcluster_model::DurationMs;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The cluster in a simulated world, with faults and checkers
#[derive(Debug, Parser)]
#[command(name = "pcluster-sim", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a range of seeds and print figures; ends at the first seed that breaks a law
    Run {
        /// First and last seed: `1..500` has 499 of them
        #[arg(long, value_parser = range, default_value = "1..101")]
        seeds: (u64, u64),
        /// Only this mode; without it, a mix of all
        #[arg(long, value_enum)]
        mode: Option<Mode>,
        /// Go on after a seed that breaks a law, and list all of them
        #[arg(long)]
        keep_going: bool,
        /// Plant a bug, to see a checker fire
        #[arg(long, value_parser = plant)]
        plant: Option<Plant>,
        /// Worlds at once
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Run one seed and print every event, frame and fault
    Replay {
        #[command(flatten)]
        one: One,
        /// Print only the verdict and the figures
        #[arg(long)]
        quiet: bool,
    },
    /// Leave out of a failing seed what its failure does not need, and keep the rest as a story
    Shrink {
        #[command(flatten)]
        one: One,
        /// Keep it under this name, for `story` and the tests
        #[arg(long)]
        name: Option<String>,
        /// At most this many plays
        #[arg(long, default_value_t = 3_000)]
        plays: usize,
    },
    /// Tell a story that was kept, as a timeline; without a name, list them
    Story { name: Option<String> },
}

/// One world.
#[derive(Debug, clap::Args)]
struct One {
    #[arg(long)]
    seed: u64,
    #[arg(long, value_enum, default_value = "safety")]
    mode: Mode,
    /// Plant a bug, to see a checker fire
    #[arg(long, value_parser = plant)]
    plant: Option<Plant>,
}

impl One {
    fn parts(&self) -> (u64, Mode, Plant) {
        (self.seed, self.mode, self.plant.unwrap_or_default())
    }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let words = || format!("{text} is no range of seeds; 1..500 is one");
    let (first, last) = text.split_once("..").ok_or_else(words)?;
    let first = first.parse().map_err(|_| words())?;
    let last = last.parse().map_err(|_| words())?;
    if first < last { Ok((first, last)) } else { Err(words()) }
}

fn plant(word: &str) -> Result<Plant, String> {
    Plant::named(word).ok_or_else(|| {
        let known: Vec<&str> = Plant::ALL.iter().map(|(_, _, word)| *word).collect();
        format!("there is no plant {word}; there are {}", known.join(", "))
    })
}

/// The mode of a seed in a mixed range.
#[must_use]
pub const fn mixed(seed: u64) -> Mode {
    match seed % 20 {
        9 => Mode::Abandoned,
        10 => Mode::Calm,
        even if even.is_multiple_of(2) => Mode::Safety,
        _ => Mode::Liveness,
    }
}

/// Runs what the arguments ask for.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    let well = match args.command {
        Command::Run { seeds, mode, keep_going, plant, threads } => {
            let mode_of = |seed| mode.unwrap_or_else(|| mixed(seed));
            let plant = plant.unwrap_or_default();
            let started = Instant::now();
            let sweep = run_range(seeds.0..seeds.1, threads, plant, keep_going, mode_of);
            sweep.print(plant, started.elapsed().as_secs_f64());
            sweep.failed.is_empty()
        }
        Command::Replay { one, quiet } => replay(one.parts(), quiet),
        Command::Shrink { one, name, plays } => {
            said(shrunk(one.parts(), name.as_deref(), plays)).is_some()
        }
        Command::Story { name: Some(name) } => {
            said(story::read(&name)).is_some_and(|s| story::tell(&s))
        }
        Command::Story { name: None } => said(list()).is_some(),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The value, or its error on stderr.
fn said<T>(value: anyhow::Result<T>) -> Option<T> {
    value.map_err(|error| eprintln!("error: {error:#}")).ok()
}

fn list() -> anyhow::Result<()> {
    for name in story::names()? {
        let story = story::read(&name)?;
        say!("{name}: seed {}, I{}: {}", story.seed, story.broke, story.said);
    }
    Ok(())
}

fn shrunk(
    (seed, mode, plant): (u64, Mode, Plant),
    name: Option<&str>,
    plays: usize,
) -> anyhow::Result<()> {
    let outcome = run_seed(seed, mode, plant, check::all());
    let story = Story::of(&outcome, plant).context("the seed breaks nothing")?;
    let small = story::shrink(&story, plays);
    let count = |kept: Option<usize>| kept.unwrap_or_default();
    say!(
        "I{} with {} asks and {} faults: {}",
        small.broke,
        count(small.kept.asks.as_ref().map(Vec::len)),
        count(small.kept.strikes.as_ref().map(Vec::len)),
        small.said
    );
    if let Some(name) = name {
        say!("{}", story::keep(name, &small)?.display());
        say!("cargo run -p pcluster-sim -- story {name}");
    }
    Ok(())
}

fn replay((seed, mode, plant): (u64, Mode, Plant), quiet: bool) -> bool {
    let mut world = World::new(seed, mode, plant, check::all());
    if !quiet {
        world.trace.begin(Aloud::Everything, world.now);
    }
    let faults: Vec<&str> = world.faults.on().collect();
    say!("seed {seed}, {}: {}", mode.word(), faults.join(", "));
    let verdict = run_world(&mut world);
    print_figures(&world.figures);
    say!("trace {:016x}", world.trace.hash());
    match &verdict {
        Ok(()) => say!("all invariants held"),
        Err(violation) => {
            print_state(&world);
            say!("{violation}");
        }
    }
    verdict.is_ok()
}

/// What a reader of a broken seed wants to know first.
fn print_state(world: &World) {
    for pool in &world.config.pools {
        let shapes: Vec<&str> = pool.shapes.iter().map(|shape| shape.name.as_str()).collect();
        say!(
            "pool {}: {} min {} max {} cpus {:?} exclusive {} idle {}",
            pool.name,
            shapes.join(" "),
            pool.min,
            pool.max,
            pool.max_cpus,
            pool.exclusive,
            pool.idle_timeout_ms
        );
    }
    let Some(head) = &world.head else { return say!("the head is down") };
    for node in head.cluster.nodes.values().filter(|node| node.state.is_alive()) {
        let (id, shape, state) = (node.id, &node.shape.name, &node.state);
        say!("node {id} {shape}: {state:?}, runs {:?}, {:?}", node.runs, node.instance);
    }
    for job in head.cluster.jobs.values().filter(|job| !job.is_finished()) {
        say!(
            "job {} of {}: {} nodes of {:?}, exclusive {}, pends {}, lives {:?}: {:?}",
            job.id,
            job.pool,
            job.spec.nodes,
            job.spec.least_per_node(),
            job.spec.exclusive,
            job.pending,
            job.live,
            head.cluster.reason(job, head.steady(world.now))
        );
    }
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Sweep {
    pub seeds: u64,
    pub figures: Figures,
    pub failed: Vec<Outcome>,
}

impl Sweep {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        let (sum, one) = (&mut self.figures, &outcome.figures);
        sum.steps += one.steps;
        sum.simulated = DurationMs(sum.simulated.0 + one.simulated.0);
        sum.events += one.events;
        sum.commits += one.commits;
        sum.jobs += one.jobs;
        sum.runs += one.runs;
        sum.slices += one.slices;
        sum.machines += one.machines;
        for (word, count) in &one.faults {
            *sum.faults.entry(word).or_default() += count;
        }
        if outcome.verdict.is_err() {
            self.failed.push(outcome);
        }
    }

    /// The failing seeds in words, each with the command that replays it.
    #[must_use]
    pub fn verdict(&self, plant: Plant) -> String {
        let lines = self.failed.iter().filter_map(|outcome| {
            let violation = outcome.verdict.as_ref().err()?;
            let command = replay_command(outcome.seed, outcome.mode, plant);
            Some(format!("seed {}: {violation}\n  {command}", outcome.seed))
        });
        lines.collect::<Vec<String>>().join("\n")
    }

    fn print(&self, plant: Plant, seconds: f64) {
        say!("{} seeds", self.seeds);
        print_figures(&self.figures);
        say!("{:.0} steps/s in {seconds:.1} s", self.figures.steps as f64 / seconds);
        if self.failed.is_empty() {
            say!("all invariants held");
        } else {
            say!("{}", self.verdict(plant));
        }
    }
}

fn print_figures(figures: &Figures) {
    say!(
        "{:.1} simulated hours, {} steps, {} commits, {} events, {} jobs, {} runs, {} machines",
        figures.simulated.0 as f64 / 3_600_000.0,
        figures.steps,
        figures.commits,
        figures.events,
        figures.jobs,
        figures.runs,
        figures.machines
    );
    say!("{} slices of pruning", figures.slices);
    for (word, count) in &figures.faults {
        say!("  {count:>8} {word}");
    }
}

/// Runs seeds on some threads; each world is alone on its thread.
pub fn run_range(
    seeds: std::ops::Range<u64>,
    threads: usize,
    plant: Plant,
    keep_going: bool,
    mode_of: impl Fn(u64) -> Mode + Sync,
) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let sweep = Mutex::new(Sweep::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run_seed(seed, mode_of(seed), plant, check::all());
                    let failed = outcome.verdict.is_err();
                    if let Err(violation) = &outcome.verdict {
                        eprintln!("seed {seed}: {violation}");
                    }
                    if let Ok(mut sweep) = sweep.lock() {
                        sweep.add(outcome);
                    }
                    if failed && !keep_going {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut sweep = sweep.into_inner().unwrap_or_default();
    sweep.failed.sort_by_key(|outcome| outcome.seed);
    sweep
}

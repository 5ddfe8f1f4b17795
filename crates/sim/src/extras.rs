//! What scenarios of the second edition have besides: jobs of a millisecond, children that outlive
//! their script, an array of many tasks that is cancelled, cancels that race with an end.
//!
//! Invariant: drawn from a stream of its own and added behind what is there, so that a story of the
//! first edition is told as it was. Deliberately absent: what the kernel answers for (fork bombs,
//! memory, devices): real keepers meet those in `tests/it`.
use crate::faults::{Faults, Kind};
use crate::rng::Rng;
use crate::scenario::{Ask, Behaviour, Scenario};
use pcluster_model::config::{Share, ShareSource};
use pcluster_model::job::JobKind;
use pcluster_model::{ArraySpec, DurationMs, JobSpec};

/// The edition of scenarios that are drawn today; the third has spot machines (`market`), the fourth what
/// stands whether or not there is work (`standing`).
pub const EDITION: u32 = 4;

/// Adds them.
pub fn add(rng: &mut Rng, scenario: &mut Scenario) {
    for (_, ask) in &mut scenario.asks {
        let Ask::Submit { spec, .. } = ask else { continue };
        let mut behaviour = Behaviour::of(spec);
        if rng.chance(800) {
            behaviour.lasts = DurationMs(1);
        }
        behaviour.leaves_children = rng.chance(1_500);
        spec.script = behaviour.script();
    }
    let is_submit = |ask: &&(DurationMs, Ask)| matches!(ask.1, Ask::Submit { .. });
    let jobs = scenario.asks.iter().filter(is_submit).count();
    for _ in 0..rng.between(0, 3) {
        let job = usize::try_from(rng.below(jobs as u64)).unwrap_or(0);
        let at = DurationMs(rng.below(scenario.lasts.0 * 6 / 10));
        scenario.asks.push((at, Ask::Race { job }));
    }
    if rng.chance(500) {
        large_array(rng, scenario, jobs);
    }
    scenario.asks.sort_by_key(|(at, _)| *at);
}

/// Pools have a shared path where one may turn bad, and none elsewhere: those worlds stay as they were.
pub fn share_paths(scenario: &mut Scenario, faults: &Faults) {
    if faults.parts(Kind::BadShare) == 0 {
        return;
    }
    let path = "/shared".to_owned();
    let share = Share { path, source: ShareSource::Mounted, size_bytes: None };
    for config in scenario.configs_mut() {
        for pool in &mut config.pools {
            pool.shares = vec![share.clone()];
        }
    }
}

/// The last of all submissions, so that those before it keep their numbers.
fn large_array(rng: &mut Rng, scenario: &mut Scenario, jobs: usize) {
    let lasts = DurationMs::from_secs(rng.between(60, 300));
    let behaviour = Behaviour { lasts, ends: 0, ignores_term: false, leaves_children: false };
    let spec = JobSpec {
        name: format!("job{jobs}"),
        nodes: 1,
        tasks: 1,
        cpus_per_task: 1,
        time_limit_ms: Some(DurationMs::from_mins(10)),
        array: Some(ArraySpec { indices: (0..=rng.small(300, 1_200)).collect(), throttle: None }),
        kind: JobKind::Batch,
        requeue: true,
        output: "out-%j".into(),
        script: behaviour.script(),
        work_dir: "/home/ana".into(),
        ..JobSpec::default()
    };
    let at = scenario.lasts.0 * 6 / 10;
    scenario.asks.push((DurationMs(at), Ask::Submit { spec: Box::new(spec), after: Vec::new() }));
    let at = at + rng.between(30_000, 400_000);
    scenario.asks.push((DurationMs(at), Ask::Cancel { job: jobs, task: None }));
}

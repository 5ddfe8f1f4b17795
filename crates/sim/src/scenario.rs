//! What a seed's world looks like: its configuration, its users and what they ask for.
//!
//! Invariant: everything here is drawn before the world starts. A job's script is its hash: the
//! first bytes say how long it runs and how it ends. Deliberately absent: faults.
use crate::rng::Rng;
use crate::world::Mode;
use pcluster_model::config::{
    Budget, Config, Head, Image, ImageSource, Pool, ProviderKind, SpotUse,
};
use pcluster_model::job::{JobKind, MemoryAsk};
use pcluster_model::{
    ArraySpec, BlobHash, DependencyKind, DurationMs, JobSpec, MicroUsd, PoolName, Price, Resources,
    Shape, Timestamp,
};

/// The provider of every pool.
#[must_use]
pub fn provider() -> ProviderKind {
    ProviderKind::External("sim".into())
}

/// What somebody asks for; jobs are named by the order in which they are submitted.
#[derive(Debug, Clone)]
pub enum Ask {
    Submit {
        spec: Box<JobSpec>,
        after: Vec<(usize, DependencyKind)>,
    },
    Cancel {
        job: usize,
        task: Option<u32>,
    },
    /// Cancelled within some milliseconds of its own end.
    Race {
        job: usize,
    },
    Hold {
        job: usize,
        task: Option<u32>,
    },
    Release {
        job: usize,
        task: Option<u32>,
    },
    Requeue {
        job: usize,
    },
    Rerun {
        job: usize,
    },
    Suspend {
        job: usize,
    },
    /// What is suspended goes on.
    Continue {
        job: usize,
    },
    /// An allocation is given back.
    Finish {
        job: usize,
    },
    /// A step on every node of the first run of it that lives.
    Step {
        job: usize,
    },
    /// The oldest open step of it ends on one part.
    EndStep {
        job: usize,
    },
    /// A new time limit.
    Update {
        job: usize,
        task: Option<u32>,
        time_limit_ms: DurationMs,
    },
    /// The n-th living node is drained, resumed or ended.
    Drain {
        nth: usize,
    },
    Resume {
        nth: usize,
    },
    Terminate {
        nth: usize,
    },
    Configure(Box<Config>),
    Down {
        now: bool,
    },
}

/// A world before it starts.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub config: Config,
    /// The configuration from the end of faults on.
    pub last_config: Config,
    pub starts_at: Timestamp,
    /// Times from the start.
    pub asks: Vec<(DurationMs, Ask)>,
    /// Faults and asks end after this.
    pub lasts: DurationMs,
    /// When faults end the cluster goes down, at once or after what runs.
    pub down: Option<bool>,
    /// Provider's clock less true time.
    pub provider_skew_ms: i64,
}

/// How a job behaves once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    pub lasts: DurationMs,
    /// 0 ends well; 1 fails; 2 is ended by a signal; 3 fills the memory; 4 cannot run.
    pub ends: u8,
    /// It ends only when it is killed.
    pub ignores_term: bool,
    /// What it started in the background outlives it.
    pub leaves_children: bool,
}

impl Behaviour {
    /// As the name of a script.
    #[must_use]
    pub fn script(self) -> BlobHash {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&self.lasts.0.to_le_bytes());
        bytes[8] = self.ends;
        bytes[9] = u8::from(self.ignores_term);
        bytes[10] = u8::from(self.leaves_children);
        BlobHash(bytes)
    }

    /// Read back from the name of the script.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        let bytes = spec.script.0;
        let mut lasts = [0u8; 8];
        lasts.copy_from_slice(&bytes[..8]);
        let lasts = DurationMs(u64::from_le_bytes(lasts));
        Self { lasts, ends: bytes[8], ignores_term: bytes[9] != 0, leaves_children: bytes[10] != 0 }
    }
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn of(rng: &mut Rng, mode: Mode) -> Self {
        let mut scenario = Self::draw(rng, mode == Mode::Safety);
        match mode {
            Mode::Safety | Mode::Liveness => {}
            // What users get who set nothing.
            Mode::Abandoned => {
                for config in scenario.configs_mut() {
                    config.head.orphan_after_ms = DurationMs::from_mins(3);
                }
            }
            Mode::Calm => scenario.calm(),
        }
        scenario
    }

    /// Every configuration that a head of this world may have.
    pub fn configs_mut(&mut self) -> impl Iterator<Item = &mut Config> {
        let asked = self.asks.iter_mut().filter_map(|(_, ask)| match ask {
            Ask::Configure(config) => Some(&mut **config),
            _ => None,
        });
        asked.chain([&mut self.config, &mut self.last_config])
    }

    /// Machines stay once they are there, and are few.
    fn calm(&mut self) {
        for pool in &mut self.config.pools {
            pool.idle_timeout_ms = DurationMs::from_hours(24);
            pool.max = pool.max.min(3);
        }
        self.asks.retain(|(_, ask)| {
            !matches!(ask, Ask::Configure(_) | Ask::Drain { .. } | Ask::Terminate { .. })
        });
    }

    /// `money`: some seeds have a budget.
    fn draw(rng: &mut Rng, money: bool) -> Self {
        let lasts = DurationMs::from_mins(rng.between(40, 110));
        let config = config(rng, money);
        let mut asks = Vec::new();
        let jobs = usize::try_from(rng.between(5, 24)).unwrap_or(5);
        for job in 0..jobs {
            let at = DurationMs(rng.below(lasts.0 * 6 / 10));
            asks.push((at, submit(rng, &config, job)));
        }
        asks.sort_by_key(|(at, _)| *at);
        twins(&mut rng.aside(3), &mut asks);
        depend(rng, &mut asks);
        for _ in 0..rng.between(0, 12) {
            let at = DurationMs(rng.below(lasts.0 * 9 / 10));
            asks.push((at, meddle(rng, &config, jobs)));
        }
        asks.sort_by_key(|(at, _)| *at);
        // Some months end while the world runs: 2026-11-30 23:00 UTC and later.
        let starts_at = if rng.chance(3_000) {
            Timestamp(1_796_079_600_000 + i64::try_from(rng.below(3_600_000)).unwrap_or(0))
        } else {
            Timestamp(1_795_500_000_000)
        };
        let skew = i64::try_from(rng.below(4_000)).unwrap_or(0) - 2_000;
        let down = rng.chance(1_500).then(|| rng.chance(5_000));
        for (_, ask) in &mut asks {
            // Drawn as a time from the start.
            if let Ask::Submit { spec, .. } = ask {
                spec.begin = spec.begin.map(|at| Timestamp(starts_at.0 + at.0));
            }
        }
        let last_config = if rng.chance(2_000) { changed(rng, &config) } else { config.clone() };
        Self { config, last_config, starts_at, asks, lasts, down, provider_skew_ms: skew }
    }
}

fn shape(name: &str, cpus: u32, gib: u64, price: i64) -> Shape {
    Shape {
        name: name.into(),
        arch: "x86_64".into(),
        total: Resources { cpus, memory_bytes: gib << 30, gpus: 0, tmp_bytes: 10 << 30 },
        gpu_type: String::new(),
        price: Some(Price(price)),
        spot_price: None,
        reserve_bytes: 256 << 20,
    }
}

fn pool(rng: &mut Rng, name: &str, default: bool) -> Pool {
    let menu = [shape("s2", 2, 4, 83_200), shape("s4", 4, 8, 166_417), shape("s8", 8, 32, 401_003)];
    let mut shapes: Vec<Shape> = menu.iter().filter(|_| rng.chance(6_000)).cloned().collect();
    if shapes.is_empty() {
        shapes.push(menu[1].clone());
    }
    let max = rng.small(1, 6);
    Pool {
        name: PoolName(name.into()),
        provider: provider(),
        shapes,
        min: if rng.chance(2_500) { 1 } else { 0 },
        max,
        max_cpus: rng.chance(2_000).then(|| rng.small(24, 40)),
        image: "debian-12".into(),
        spot: SpotUse::Never,
        spot_patience_ms: DurationMs::from_mins(5),
        max_price: None,
        requeue_always: false,
        idle_timeout_ms: DurationMs::from_secs(rng.between(0, 300)),
        boot_timeout_ms: DurationMs::from_mins(3),
        boot_limit_ms: DurationMs::from_mins(rng.between(5, 15)),
        lost_grace_idle_ms: Some(DurationMs::from_mins(rng.between(2, 4))),
        lost_grace_busy_ms: Some(DurationMs::from_mins(rng.between(5, 20))),
        default_time_ms: Some(DurationMs::from_mins(20)),
        max_time_ms: None,
        default,
        exclusive: rng.chance(1_500),
        shares: Vec::new(),
        local_bytes: 0,
        local_home: false,
        minimum_billing_ms: DurationMs::from_secs(60),
        features: vec![format!("{name}-net")],
        subnets: Vec::new(),
        ec2: pcluster_model::config::Ec2Pool::default(),
    }
}

fn config(rng: &mut Rng, money: bool) -> Config {
    let mut pools = vec![pool(rng, "main", true)];
    if rng.chance(4_000) {
        pools.push(pool(rng, "side", false));
    }
    let budget = money && rng.chance(5_000);
    Config {
        name: "sim".into(),
        head: Head {
            address: None,
            listen: None,
            instance_type: None,
            settle_ms: DurationMs::from_secs(60),
            orphan_after_ms: DurationMs::from_mins(10),
            report_hold_ms: DurationMs::from_hours(1),
            heartbeat_ms: DurationMs::from_secs(20),
            silent_after_ms: DurationMs::from_secs(60),
            orphan_grace_ms: DurationMs::from_mins(2),
            sweep_ms: DurationMs::from_mins(1),
            keep_jobs_ms: DurationMs::from_hours(720),
            hosts_file: None,
        },
        pools,
        images: vec![Image {
            name: "debian-12".into(),
            source: ImageSource::BuiltIn,
            profile: None,
        }],
        budget: Budget {
            month: budget
                .then(|| MicroUsd(i64::try_from(rng.between(20_000, 1_500_000)).unwrap_or(20_000))),
            warn_percent: None,
        },
        fixed_costs: Vec::new(),
        admins: vec!["root".into()],
        root_jobs: false,
        process_launcher: Vec::new(),
        externals: Vec::new(),
        vm: pcluster_model::config::Vm::default(),
        ec2: pcluster_model::config::Ec2::default(),
        term_grace_ms: DurationMs::from_secs(rng.between(2, 30)),
        requeue_limit: rng.small(0, 5),
        zone_offset_ms: *rng.pick(&[0, 3_600_000, -18_000_000, 20_700_000]).unwrap_or(&0),
    }
}

fn submit(rng: &mut Rng, config: &Config, number: usize) -> Ask {
    let pool = rng.pick(&config.pools).unwrap_or(&config.pools[0]).clone();
    let most = pool.shapes.iter().map(|shape| shape.total.cpus).max().unwrap_or(1);
    let lasts = match rng.below(10) {
        0 => DurationMs(rng.between(1, 900)),
        1 | 2 => DurationMs::from_mins(rng.between(8, 25)),
        _ => DurationMs::from_secs(rng.between(5, 360)),
    };
    let behaviour = Behaviour {
        lasts,
        ends: if rng.chance(2_500) { u8::try_from(rng.between(1, 4)).unwrap_or(1) } else { 0 },
        ignores_term: rng.chance(2_000),
        leaves_children: false,
    };
    let array = rng.chance(2_500).then(|| {
        let last = rng.small(1, 9);
        let step = usize::try_from(rng.between(1, 2)).unwrap_or(1);
        ArraySpec {
            indices: (0..=last).step_by(step).collect(),
            throttle: rng.chance(3_000).then(|| rng.small(1, 3)),
        }
    });
    let allocation = array.is_none() && rng.chance(1_200);
    let nodes =
        if array.is_none() && rng.chance(1_200) { rng.small(1, pool.max.min(3)) } else { 1 };
    let cpus = rng.small(1, most);
    // Some want any of the shapes by name, and gangs of them all nodes by the same one.
    let by_shape = |shape: &Shape| vec![shape.name.clone()];
    let any = number.is_multiple_of(4);
    let feature_choices = pool.shapes.iter().filter(|_| any).map(by_shape).collect();
    let spec = JobSpec {
        name: format!("job{number}"),
        pools: if pool.default { Vec::new() } else { vec![pool.name.clone()] },
        nodes,
        tasks: nodes,
        cpus_per_task: cpus,
        tasks_per_node: None,
        memory: match rng.below(4) {
            0 => MemoryAsk::PerNode(rng.between(1, 3) << 29),
            1 => MemoryAsk::PerCpu(rng.between(1, 3) << 28),
            _ => MemoryAsk::Proportional,
        },
        time_limit_ms: Some(DurationMs::from_secs(rng.between(60, 1_500))),
        exclusive: rng.chance(800),
        array,
        begin: rng.chance(400).then(|| Timestamp(i64::try_from(rng.below(6_600_000)).unwrap_or(0))),
        priority: if rng.chance(1_500) { -1 } else { 0 },
        kind: if allocation { JobKind::Allocation } else { JobKind::Batch },
        lease_ms: allocation.then(|| DurationMs::from_secs(rng.between(120, 1_200))),
        features: if rng.chance(1_000) { vec![format!("{}-net", pool.name)] } else { Vec::new() },
        feature_choices,
        same_choice: any,
        not_nodes: if rng.chance(800) { vec![format!("{}-2", pool.name)] } else { Vec::new() },
        hold: rng.chance(500),
        requeue: !rng.chance(1_500),
        output: "out-%j".into(),
        script: behaviour.script(),
        work_dir: "/home/ana".into(),
        ..JobSpec::default()
    };
    Ask::Submit { spec: Box::new(spec), after: Vec::new() }
}

/// Some jobs ask for the same as the one before them: only turn tells them apart.
fn twins(rng: &mut Rng, asks: &mut [(DurationMs, Ask)]) {
    for at in 1..asks.len() {
        let (before, here) = asks.split_at_mut(at);
        let (Some((_, Ask::Submit { spec: like, .. })), Some((_, Ask::Submit { spec, .. }))) =
            (before.last(), here.first_mut())
        else {
            continue;
        };
        if like.kind != spec.kind || !rng.chance(2_500) {
            continue;
        }
        let own = (spec.name.clone(), spec.script, spec.array.clone(), spec.begin, spec.hold);
        **spec = (**like).clone();
        (spec.name, spec.script, spec.array, spec.begin, spec.hold) = own;
    }
}

/// Some jobs wait for earlier ones.
fn depend(rng: &mut Rng, asks: &mut [(DurationMs, Ask)]) {
    let kinds = [
        DependencyKind::After,
        DependencyKind::AfterAny,
        DependencyKind::AfterAny,
        DependencyKind::AfterOk,
        DependencyKind::AfterNotOk,
    ];
    // Jobs are named by the order of submission, so dependencies point backwards.
    for (at, (_, ask)) in asks.iter_mut().enumerate().skip(1) {
        let Ask::Submit { after, spec } = ask else {
            continue;
        };
        spec.name = format!("job{at}");
        if rng.chance(2_500) {
            for _ in 0..rng.between(1, 2) {
                let other = usize::try_from(rng.below(at as u64)).unwrap_or(0);
                after.push((other, *rng.pick(&kinds).unwrap_or(&kinds[0])));
            }
        }
    }
}

fn meddle(rng: &mut Rng, config: &Config, jobs: usize) -> Ask {
    let job = usize::try_from(rng.below(jobs as u64)).unwrap_or(0);
    let nth = usize::try_from(rng.below(6)).unwrap_or(0);
    // Drawn from what is there already: other draws would make other stories of all seeds.
    let task = u32::try_from(nth / 2).ok().filter(|_| nth % 2 == 0);
    match rng.below(30) {
        0..=4 => Ask::Cancel { job, task: rng.chance(3_000).then(|| rng.small(0, 4)) },
        5..=7 => Ask::Hold { job, task },
        8..=10 => Ask::Release { job, task },
        11 | 12 => Ask::Requeue { job },
        13 => Ask::Rerun { job },
        14 => {
            let time_limit_ms = DurationMs::from_secs(rng.between(30, 3_000));
            Ask::Update { job, task, time_limit_ms }
        }
        15 => Ask::Drain { nth },
        16 => Ask::Resume { nth },
        17 => Ask::Terminate { nth },
        18 | 19 => Ask::Suspend { job },
        20 | 21 => Ask::Continue { job },
        22 => Ask::Finish { job },
        23..=26 => Ask::Step { job },
        27 => Ask::EndStep { job },
        _ => Ask::Configure(Box::new(changed(rng, config))),
    }
}

/// What an admin makes of a configuration: other sizes, fewer shapes, a pool less.
fn changed(rng: &mut Rng, config: &Config) -> Config {
    let mut config = config.clone();
    if rng.chance(3_000) {
        config.pools.truncate(1);
    }
    for pool in &mut config.pools {
        pool.max = rng.small(1, pool.max + 2);
        pool.min = rng.small(0, 1);
        pool.idle_timeout_ms = DurationMs::from_secs(rng.between(0, 240));
        if pool.shapes.len() > 1 && rng.chance(3_000) {
            pool.shapes.pop();
        }
    }
    config
}

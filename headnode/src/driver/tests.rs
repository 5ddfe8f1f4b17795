use super::*;
use crate::clock::TimeSource;
use crate::disk::DiskWatch;
use crate::inbox::{InboxHandle, LinkId, inbox};
use pcluster_config::samples;
use pcluster_core::input::{LaunchedInstance, ListedInstance, Principal, ProviderSaid, Request};
use pcluster_core::rows::RowChange;
use pcluster_core::{Effect, Event, NodeState};
use pcluster_model::config::ProviderKind;
use pcluster_model::{ClusterId, InstanceRef, NodeId, RunId};
use pcluster_wire::Facts;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};

const HOUR: u64 = 3_600_000;

#[derive(Default)]
struct FakeTime {
    wall: AtomicI64,
    boot: AtomicU64,
    moved: Notify,
}

impl FakeTime {
    fn pass(&self, ms: u64) {
        self.wall.fetch_add(i64::try_from(ms).unwrap(), Ordering::SeqCst);
        self.boot.fetch_add(ms, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    fn step_wall(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }
}

impl TimeSource for FakeTime {
    fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }

    fn sleep(&self, span: DurationMs) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let until = self.since_boot() + span.0;
        Box::pin(async move {
            loop {
                let moved = self.moved.notified();
                if self.since_boot() >= until {
                    return;
                }
                moved.await;
            }
        })
    }
}

#[derive(Clone, Default)]
struct FakeLog {
    events: Arc<Mutex<Vec<Stamped>>>,
    broken: Arc<AtomicBool>,
}

impl Log for FakeLog {
    fn commit(&mut self, events: &[Stamped], _: &[RowChange]) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Full { path: "events.db".into() });
        }
        self.events.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

#[derive(Clone, Default)]
struct FakeOutlet {
    effects: Arc<Mutex<Vec<Effect>>>,
    answers: Arc<Mutex<Vec<(LinkId, Reply)>>>,
}

impl Outlet for FakeOutlet {
    fn admits(&self, link: LinkId, _: NodeId, _: &AgentSaid) -> bool {
        link == LinkId(1)
    }

    fn answer(&self, link: LinkId, reply: Reply) {
        self.answers.lock().unwrap().push((link, reply));
    }

    fn signal(&self, _: &[(NodeId, RunId)], _: i32, _: pcluster_model::SignalScope) {}

    fn take(&self, effects: Vec<Effect>) {
        self.effects.lock().unwrap().extend(effects);
    }

    fn committed(&self, _: &[Stamped]) {}

    fn settled(&self, _: &Cluster) {}
}

struct Bench {
    driver: Driver<FakeLog, FakeOutlet>,
    time: Arc<FakeTime>,
    log: FakeLog,
    outlet: FakeOutlet,
    handle: InboxHandle,
    mirror: Mirror,
}

fn config() -> Config {
    samples::config("provider = \"process\"\ncompute = { cpus = 1, min = 1, max = 1 }\n")
}

/// A head at noon of some day, before its first batch.
fn bench_at(last_at: Timestamp) -> Bench {
    let time = Arc::new(FakeTime::default());
    time.step_wall(1_700_000_000_000);
    time.pass(5_000);
    let (log, outlet) = (FakeLog::default(), FakeOutlet::default());
    let (handle, inbox) = inbox(DiskWatch::of(std::path::Path::new("/")));
    let cluster = || Cluster::new(ClusterId::from("0123456789abcdef"));
    let mirror = Mirror::new(cluster());
    let driver = Driver::new(Parts {
        cluster: cluster(),
        mirror: mirror.clone(),
        log: log.clone(),
        outlet: outlet.clone(),
        clock: Clock::start(Arc::clone(&time) as Arc<dyn TimeSource>, last_at),
        inbox,
        changes: watch::Sender::new(0),
    });
    Bench { driver, time, log, outlet, handle, mirror }
}

fn bench() -> Bench {
    let mut bench = bench_at(Timestamp(0));
    bench.driver.start("1", config()).unwrap();
    bench
}

impl Bench {
    /// What the loop does when it wakes now.
    fn wake(&mut self) -> Result<Vec<String>, DriverError> {
        let now = self.driver.clock.now();
        let batch = self.driver.gather(now, None);
        let kinds = batch.iter().map(|asked| word(&asked.input)).collect();
        self.driver.turn(now, batch)?;
        self.driver.awake_by = now + limits::LONGEST_SLEEP;
        Ok(kinds)
    }

    fn give(&mut self, input: Input) {
        let now = self.driver.clock.now();
        self.driver.turn(now, vec![Asked { input, from: From::Inside }]).unwrap();
        self.driver.awake_by = now + limits::LONGEST_SLEEP;
    }

    /// The one node of the minimum, launched, connected and ready.
    fn node(&mut self) -> NodeId {
        let launch = self.outlet.effects.lock().unwrap().iter().find_map(|effect| match effect {
            Effect::Launch(plan) => Some(plan.launch),
            _ => None,
        });
        let node = NodeId { launch: launch.unwrap(), index: 0 };
        let launched_at = self.driver.clock.now();
        let instance = InstanceRef(format!("p-{node}"));
        let seen = LaunchedInstance { index: 0, instance, launched_at };
        let answer = Ok(vec![Ok(seen)]);
        self.give(Input::ProviderSaid(ProviderSaid::Launched { launch: node.launch, answer }));
        let usable = self.mirror.read().nodes[&node].shape.usable();
        let facts = Box::new(Facts { usable, clock: launched_at, ..Facts::default() });
        let said = AgentSaid::Hello {
            key: "k".into(),
            token_valid: true,
            boot_id: "b".into(),
            facts,
            runs: Vec::new(),
        };
        self.give(Input::AgentSaid { node, said });
        assert_eq!(self.mirror.read().nodes[&node].state, NodeState::Ready);
        node
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.log.events.lock().unwrap().iter().map(|stamped| stamped.event.kind()).collect()
    }
}

fn word(input: &Input) -> String {
    let text = format!("{input:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn down() -> Input {
    let principal = Principal { user: "root".into(), uid: 0, gid: 0, admin: true };
    Input::Request { principal, request: Request::Down { now: true } }
}

#[test]
fn a_start_commits_its_events_and_hands_out_what_is_owed() {
    let bench = bench();
    assert_eq!(bench.kinds()[..2], ["cluster_created", "head_started"]);
    assert!(matches!(bench.outlet.effects.lock().unwrap()[..], [Effect::Launch(_)]));
    let length = bench.driver.cluster.log_length();
    assert_eq!(bench.mirror.read().log_length(), length);
}

#[test]
fn steady_time_never_starts_before_the_last_event() {
    let late = Timestamp(1_800_000_000_000);
    let mut bench = bench_at(late);
    assert_eq!(bench.driver.clock.now(), late);
    bench.driver.start("1", config()).unwrap();
    bench.time.pass(10);
    assert_eq!(bench.driver.clock.now(), late + DurationMs(10));
    let events = bench.log.events.lock().unwrap();
    assert!(events.iter().all(|stamped| stamped.at >= late));
}

#[test]
fn a_batch_that_cannot_be_committed_is_heard_of_by_nobody() {
    let mut bench = bench();
    bench.log.broken.store(true, Ordering::SeqCst);
    let before = bench.mirror.read().log_length();
    let (sender, mut answer) = oneshot::channel();
    let asked = Asked { input: down(), from: From::Client(sender) };
    let effects = bench.outlet.effects.lock().unwrap().len();
    let now = bench.driver.clock.now();
    assert!(matches!(bench.driver.turn(now, vec![asked]), Err(DriverError::Commit(_))));
    assert!(answer.try_recv().is_err());
    assert_eq!(bench.mirror.read().log_length(), before);
    assert_eq!(bench.outlet.effects.lock().unwrap().len(), effects);
}

#[test]
fn when_an_answer_leaves_the_mirror_knows() {
    let mut bench = bench();
    let (sender, mut answer) = oneshot::channel();
    let asked = Asked { input: down(), from: From::Client(sender) };
    let now = bench.driver.clock.now();
    bench.driver.turn(now, vec![asked]).unwrap();
    assert!(matches!(answer.try_recv().unwrap(), Reply::Done { .. }));
    assert!(bench.mirror.read().meta.closing.is_some());
}

#[test]
fn a_machine_that_slept_for_an_hour_blames_no_node_for_its_silence() {
    let mut bench = bench();
    let node = bench.node();
    bench.time.pass(HOUR);
    assert_eq!(bench.wake().unwrap()[0], "Stalled");
    assert!(!bench.kinds().contains(&"node_lost"), "{:?}", bench.kinds());
    assert_eq!(bench.driver.cluster.nodes[&node].state, NodeState::Ready);
    assert!(!bench.kinds().contains(&"clock_stepped"));
}

#[test]
fn a_loop_that_only_slept_as_long_as_it_meant_to_has_not_stalled() {
    let mut bench = bench();
    bench.node();
    bench.time.pass(limits::LONGEST_SLEEP.0 + limits::STALL.0);
    assert!(!bench.wake().unwrap().contains(&"Stalled".to_owned()));
}

#[test]
fn a_wall_clock_that_jumps_is_an_input_and_moves_no_deadline() {
    let mut bench = bench();
    let before = bench.driver.clock.now();
    bench.time.step_wall(3_600_000);
    assert_eq!(bench.driver.clock.now(), before);
    assert_eq!(bench.wake().unwrap()[0], "ClockStepped");
    let stepped = |stamped: &Stamped| stamped.event == Event::ClockStepped { offset_ms: 3_600_000 };
    assert!(bench.log.events.lock().unwrap().iter().any(stepped));
    bench.time.step_wall(1_500);
    assert!(!bench.wake().unwrap().contains(&"ClockStepped".to_owned()));
}

#[tokio::test]
async fn frames_of_older_connections_are_dropped_and_a_hello_ends_the_batch() {
    let mut bench = bench();
    let node = NodeId { launch: pcluster_model::LaunchId(1), index: 0 };
    let said = |said| Input::AgentSaid { node, said };
    let hello = AgentSaid::Hello {
        key: "k".into(),
        token_valid: false,
        boot_id: "b".into(),
        facts: Box::default(),
        runs: Vec::new(),
    };
    for (link, what) in [
        (LinkId(9), AgentSaid::Heartbeat),
        (LinkId(1), AgentSaid::Heartbeat),
        (LinkId(1), hello),
        (LinkId(1), AgentSaid::Disconnected),
    ] {
        bench.handle.relay(link, node, said(what)).await.unwrap();
    }
    let now = bench.driver.clock.now();
    assert_eq!(bench.driver.gather(now, None).len(), 2);
    assert_eq!(bench.driver.gather(now, None).len(), 1);
}

#[tokio::test]
async fn an_agent_that_speaks_for_another_node_is_not_heard() {
    let mut bench = bench();
    let launch = pcluster_model::LaunchId(1);
    let (own, other) = (NodeId { launch, index: 0 }, NodeId { launch, index: 1 });
    let input = Input::AgentSaid { node: other, said: AgentSaid::Heartbeat };
    bench.handle.relay(LinkId(1), own, input).await.unwrap();
    bench.handle.relay(LinkId(1), own, down()).await.unwrap();
    let now = bench.driver.clock.now();
    assert!(bench.driver.gather(now, None).is_empty());
}

#[tokio::test]
async fn a_stop_answers_what_was_already_asked() {
    let mut bench = bench();
    let (stop, stopped) = watch::channel(false);
    let handle = bench.handle.clone();
    let asking = tokio::spawn(async move { handle.ask(down()).await });
    // The question is in the queue before the loop is told to stop.
    while bench.driver.inbox.is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    assert_eq!(bench.driver.run(stopped).await.unwrap(), Ended::Stopped);
    assert!(matches!(asking.await.unwrap(), Ok(Reply::Done { .. })));
}

#[tokio::test]
async fn a_closed_cluster_ends_the_loop_once_the_provider_lists_nothing() {
    let mut bench = bench();
    let node = bench.node();
    bench.give(down());
    bench.give(Input::ProviderSaid(ProviderSaid::Terminated { node, error: None }));
    let (stop, stopped) = watch::channel(false);
    let (time, handle) = (Arc::clone(&bench.time), bench.handle.clone());
    let world = tokio::spawn(async move {
        let mut ended_at = None;
        loop {
            time.pass(500);
            let now = time.wall();
            let listed = ListedInstance {
                instance: InstanceRef(format!("p-{node}")),
                launch: node.launch,
                index: Some(0),
                ended_at: Some(*ended_at.get_or_insert(now)),
                ended_estimated: false,
                notice_at: None,
                reclaimed: false,
                tags: Default::default(),
                launched_at: Timestamp(1_700_000_005_000),
            };
            let said = ProviderSaid::Listed {
                provider: ProviderKind::Process,
                asked_at: now,
                instances: vec![listed],
            };
            if handle.tell(Input::ProviderSaid(said)).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), bench.driver.run(stopped));
    assert_eq!(ended.await.unwrap().unwrap(), Ended::Closed);
    assert!(bench.kinds().contains(&"node_gone"));
    world.abort();
    drop(stop);
}

#[tokio::test]
async fn on_a_full_disk_new_work_is_refused_and_ends_go_on() {
    let disk = DiskWatch::with_free(100 << 20);
    let (handle, mut inbox) = inbox(disk);
    let Input::Request { principal, .. } = down() else { panic!() };
    let request = Request::RerunFailed { job: pcluster_model::JobId(1) };
    let reply = handle.ask(Input::Request { principal, request }).await.unwrap();
    let Reply::Rejected(rejection) = reply else { panic!("{reply:?}") };
    assert_eq!(rejection.message, "the disk of the head is nearly full: 100 MB free");
    handle.tell(down()).await.unwrap();
    assert!(inbox.try_next().is_some());
}

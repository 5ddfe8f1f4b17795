//! Users and admins: they ask, ask again when no answer comes, and remember what was promised.
//!
//! Invariant: a submission is repeated under its first key, as the command line does it.
//! Deliberately absent: reading views.
use crate::faults::Kind;
use crate::head::From;
use crate::scenario::Ask;
use crate::world::{What, World};
use pcluster_core::Job;
use pcluster_core::input::{Input, JobTarget, Principal, Request};
use pcluster_core::step::{StepAsk, StepPartEnd};
use pcluster_model::{Dependency, DurationMs, IndexRanges, JobId, NodeId, Timestamp};

/// What a user hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Submitted(JobId),
    Done,
    Rejected(String),
}

/// Somebody who wants one thing.
#[derive(Debug)]
pub struct Client {
    pub ask: Ask,
    pub key: Option<String>,
    /// The job that an ask about a job was about, once it is known.
    pub job: Option<JobId>,
    tries: u32,
    /// The first answer that left the head, and how long the log was then.
    pub promised: Option<(Answer, usize)>,
    /// A later answer differed from the first.
    pub contradicted: Option<Answer>,
    heard: Option<Answer>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Users {
    pub clients: Vec<Client>,
    /// Clients that submit, in order: how asks name jobs.
    submits: Vec<usize>,
}

/// Somebody who never gets an answer stops asking after this many times.
const TRIES: u32 = 5_000;

/// Looks for a run to race with.
const RACE_TRIES: u32 = 100;

impl Users {
    /// A new client; returns its number.
    pub fn add(&mut self, ask: Ask) -> usize {
        let number = self.clients.len();
        let submits = matches!(ask, Ask::Submit { .. });
        if submits {
            self.submits.push(number);
        }
        self.clients.push(Client {
            ask,
            key: submits.then(|| format!("key-{number}")),
            job: None,
            tries: 0,
            promised: None,
            contradicted: None,
            heard: None,
        });
        number
    }

    /// An answer leaves the head.
    pub fn acknowledge(&mut self, client: usize, answer: &Answer, log: usize) {
        let Some(client) = self.clients.get_mut(client) else { return };
        match &client.promised {
            None => client.promised = Some((answer.clone(), log)),
            // Only a submission has a key; a rerun that is asked for twice is two jobs.
            Some((first @ Answer::Submitted(_), _)) if first != answer && client.key.is_some() => {
                client.contradicted = Some(answer.clone());
            }
            Some(_) => {}
        }
    }

    /// True when nobody waits for an answer.
    #[must_use]
    pub fn all_answered(&self) -> bool {
        self.clients.iter().all(|client| client.heard.is_some())
    }

    /// A client of a story that does not need it: it never asks, and nobody waits for it.
    pub fn leave_out(&mut self, number: usize) {
        if let Some(client) = self.clients.get_mut(number) {
            client.heard = Some(Answer::Rejected("left out".into()));
        }
    }

    /// The job of the n-th submission: `Err` while nobody knows, `Ok(None)` when it was refused.
    fn job(&self, nth: usize) -> Result<Option<JobId>, ()> {
        let Some(client) = self.submits.get(nth).and_then(|at| self.clients.get(*at)) else {
            return Ok(None);
        };
        match &client.heard {
            None => Err(()),
            Some(Answer::Submitted(job)) => Ok(Some(*job)),
            Some(Answer::Done | Answer::Rejected(_)) => Ok(None),
        }
    }

    /// When faults end nobody holds anything any more; returns new clients who release.
    pub fn let_go(&mut self) -> Vec<usize> {
        for client in &mut self.clients {
            match &mut client.ask {
                Ask::Hold { .. } | Ask::Suspend { .. } | Ask::Race { .. } | Ask::Configure(_)
                    if client.heard.is_none() =>
                {
                    client.heard = Some(Answer::Rejected("nobody asks any more".into()));
                }
                Ask::Submit { spec, .. } => spec.hold = false,
                _ => {}
            }
        }
        let mut last = Vec::new();
        for job in 0..self.submits.len() {
            last.push(self.add(Ask::Release { job, task: None }));
            last.push(self.add(Ask::Continue { job }));
        }
        last
    }
}

/// The job that an ask is about, by the order of submission.
const fn job_asked_about(ask: &Ask) -> Option<usize> {
    match ask {
        Ask::Cancel { job, .. }
        | Ask::Race { job }
        | Ask::Hold { job, .. }
        | Ask::Release { job, .. }
        | Ask::Requeue { job }
        | Ask::Rerun { job }
        | Ask::Suspend { job }
        | Ask::Continue { job }
        | Ask::Finish { job }
        | Ask::Step { job }
        | Ask::EndStep { job }
        | Ask::Update { job, .. } => Some(*job),
        Ask::Submit { .. }
        | Ask::Drain { .. }
        | Ask::Resume { .. }
        | Ask::Terminate { .. }
        | Ask::Configure(_)
        | Ask::Down { .. } => None,
    }
}

fn ana() -> Principal {
    Principal { user: "ana".into(), uid: 1000, gid: 1000, admin: false }
}

fn root() -> Principal {
    Principal { user: "root".into(), uid: 0, gid: 0, admin: true }
}

impl World {
    /// A client tries to reach the head, and again later unless it has its answer.
    pub fn user_asks(&mut self, number: usize) {
        let Some(client) = self.users.clients.get_mut(number) else { return };
        if client.heard.is_some() || self.abandoned.is_some() {
            return;
        }
        client.tries += 1;
        if client.tries > TRIES {
            client.heard = Some(Answer::Rejected("gave up".into()));
            return;
        }
        let awake = self.head.as_ref().is_some_and(|head| !head.asleep);
        let pause = if awake { 30_000 } else { self.rng.between(2_000, 15_000) };
        self.after(pause, What::Ask { client: number });
        if awake && let Some((principal, request)) = self.request_of(number) {
            self.trace.detail(self.now, format_args!("client {number} asks {request:?}"));
            let input = Input::Request { principal, request };
            self.head_input(input, From::User(number));
            if self.strikes(Kind::GivesUp) {
                let gone = Answer::Rejected("nobody waits for it".into());
                self.users.clients[number].heard.get_or_insert(gone);
            }
        }
    }

    /// The answer arrives.
    pub fn user_hears(&mut self, number: usize, answer: Answer) {
        self.trace.line(self.now, format_args!("client {number} hears {answer:?}"));
        if let Some(client) = self.users.clients.get_mut(number) {
            if client.heard.is_none() && matches!(answer, Answer::Submitted(_)) {
                self.figures.jobs += 1;
            }
            client.heard.get_or_insert(answer);
        }
    }

    /// A task of an array, else the job.
    fn part_of(&self, job: JobId, task: Option<u32>) -> JobTarget {
        let jobs = self.head.as_ref().map(|head| &head.cluster.jobs);
        let array = jobs.and_then(|jobs| jobs.get(&job)).is_some_and(Job::is_array);
        JobTarget { job, tasks: task.filter(|_| array).map(IndexRanges::single) }
    }

    /// The request, once everything it names is known.
    fn request_of(&mut self, number: usize) -> Option<(Principal, Request)> {
        let ask = self.users.clients[number].ask.clone();
        let job = match job_asked_about(&ask).map(|job| self.users.job(job)) {
            Some(Err(())) => return None,
            Some(Ok(None)) => return self.drop_ask(number),
            Some(Ok(Some(job))) => job,
            None => JobId(0),
        };
        self.users.clients[number].job = Some(job);
        let whole = JobTarget { job, tasks: None };
        let part = |task: Option<u32>| self.part_of(job, task);
        Some(match ask.clone() {
            Ask::Submit { mut spec, after } => {
                for (other, kind) in after {
                    if let Some(job) = self.users.job(other).ok()? {
                        spec.dependencies.push(Dependency {
                            kind,
                            job,
                            task: None,
                            delay_ms: DurationMs::ZERO,
                        });
                    }
                }
                let key = self.users.clients[number].key.clone();
                (ana(), Request::Submit { spec, key })
            }
            Ask::Cancel { task, .. } => (ana(), Request::Cancel(part(task))),
            Ask::Race { job: nth } => return self.race(number, nth, job),
            Ask::Hold { task, .. } => (ana(), Request::Hold(part(task))),
            Ask::Release { task, .. } => (ana(), Request::Release(part(task))),
            Ask::Requeue { .. } => (ana(), Request::Requeue(whole)),
            Ask::Rerun { .. } => (ana(), Request::RerunFailed { job }),
            Ask::Suspend { .. } => (root(), Request::Suspend(whole)),
            Ask::Continue { .. } => (root(), Request::Continue(whole)),
            Ask::Finish { .. } => {
                (ana(), Request::Finish { target: whole, exit_code: 0, signal: 0 })
            }
            Ask::Step { .. } | Ask::EndStep { .. } => {
                let Some(request) = self.step_request(job, number, &ask) else {
                    return self.drop_ask(number);
                };
                (ana(), request)
            }
            Ask::Update { task, time_limit_ms, .. } => {
                let cluster = &self.head.as_ref()?.cluster;
                let Some(known) = cluster.jobs.get(&job) else { return self.drop_ask(number) };
                let own = task.map_or(&known.spec, |task| known.spec_of(task));
                let mut spec = Box::new((**own).clone());
                spec.time_limit_ms = Some(time_limit_ms);
                (root(), Request::Update { target: part(task), spec })
            }
            Ask::Drain { nth } | Ask::Resume { nth } | Ask::Terminate { nth } => {
                let Some(node) = self.nth_node(nth) else { return self.drop_ask(number) };
                let request = match ask {
                    Ask::Drain { .. } => Request::DrainNode { node },
                    Ask::Resume { .. } => Request::ResumeNode { node },
                    _ => Request::TerminateNode { node },
                };
                (root(), request)
            }
            Ask::Down { now } => (root(), Request::Down { now }),
            Ask::Configure(config) => {
                self.config = *config.clone();
                self.head_input(Input::ConfigChanged { config }, From::Nobody);
                return self.drop_ask(number);
            }
        })
    }

    /// Somebody will cancel a job that runs within some milliseconds of its own end.
    fn race<T>(&mut self, number: usize, nth: usize, job: JobId) -> Option<T> {
        let Some(end) = self.end_of(job) else {
            // One that does not run by now may never do.
            let late = self.users.clients[number].tries > RACE_TRIES;
            return if late { self.drop_ask(number) } else { None };
        };
        let apart = self.rng.between(0, 120);
        let client = self.users.add(Ask::Cancel { job: nth, task: None });
        self.at(Timestamp(end.0 - 80) + DurationMs(apart), What::Ask { client });
        self.drop_ask(number)
    }

    /// When the script of a job that runs will have ended by itself.
    fn end_of(&self, job: JobId) -> Option<Timestamp> {
        let run = *self.log.jobs.get(&job)?.live.values().next()?;
        let node = self.log.runs.get(&run)?.parts.first()?.part.node;
        let mut agents = self.agents.values().filter(|agent| agent.node == node);
        agents.find_map(|agent| agent.keepers.get(&run)?.exits_at())
    }

    /// A step of the first run of a job that lives, or the end of one on a part.
    fn step_request(&self, job: JobId, number: usize, ask: &Ask) -> Option<Request> {
        let cluster = &self.head.as_ref()?.cluster;
        let run = *cluster.jobs.get(&job)?.live.values().next()?;
        if matches!(ask, Ask::Step { .. }) {
            let tasks = vec![1; cluster.runs.get(&run)?.parts.len()];
            let (key, cpus_per_task) = (format!("step-{number}"), 1);
            let ask = StepAsk { key, tasks, cpus_per_task, ..StepAsk::default() };
            return Some(Request::MakeStep { run, ask });
        }
        let step = cluster.steps.get(&run)?.iter().find(|step| step.ended_at.is_none())?;
        let rank = (0u32..).zip(&step.parts).find(|(_, part)| part.end.is_none())?.0;
        let (step, end) = (step.step, StepPartEnd::default());
        Some(Request::EndStep { run, step, rank, end })
    }

    /// Nothing is left to ask for.
    fn drop_ask<T>(&mut self, number: usize) -> Option<T> {
        self.users.clients[number].heard.get_or_insert(Answer::Done);
        None
    }

    fn nth_node(&self, nth: usize) -> Option<NodeId> {
        let nodes = &self.head.as_ref()?.cluster.nodes;
        nodes.values().filter(|node| node.state.is_alive()).nth(nth).map(|node| node.id)
    }
}

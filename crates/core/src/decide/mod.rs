//! `decide`: looks at the state and says what happens, as events, and what is answered.
//!
//! Invariant: nothing is changed here. Every `match` over inputs is exhaustive.
mod agent;
mod change;
mod control;
mod features;
mod provider;
pub(crate) mod reclaim;
mod step;
mod submit;
mod unlogged;

use crate::event::Event;
use crate::input::{Input, Principal, Request};
use crate::reply::{Rejection, RejectionKind, Reply};
use crate::{Cluster, Job};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{JobId, Timestamp};

/// What an input leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub events: Vec<Event>,
    pub reply: Reply,
}

impl Decision {
    pub(crate) const fn nothing() -> Self {
        Self { events: Vec::new(), reply: Reply::None }
    }

    pub(crate) const fn events(events: Vec<Event>) -> Self {
        Self { events, reply: Reply::None }
    }

    pub(crate) const fn reply(reply: Reply) -> Self {
        Self { events: Vec::new(), reply }
    }
}

impl From<Rejection> for Decision {
    fn from(rejection: Rejection) -> Self {
        Self::reply(Reply::Rejected(rejection))
    }
}

impl Cluster {
    /// What `input` leads to at `now`. Call `note` first, with the same input.
    #[must_use]
    pub fn decide(&self, now: Timestamp, input: Input) -> Decision {
        match input {
            Input::Started { version, config, offset_ms } => {
                self.decide_started(version, config, offset_ms)
            }
            Input::Request { principal, request } => self.decide_request(now, &principal, request),
            Input::AgentSaid { node, said } => self.decide_agent(now, node, said),
            Input::ProviderSaid(said) => self.decide_provider(now, said),
            Input::ConfigChanged { config } => {
                let same = self.meta.config.as_ref() == Some(&config);
                if same && !self.waits_for_config() && !self.has_broken_boots() {
                    return Decision::nothing();
                }
                Decision::events(vec![Event::ConfigChanged { config }])
            }
            Input::ClockStepped { offset_ms } => {
                Decision::events(vec![Event::ClockStepped { offset_ms }])
            }
            Input::Stalled { .. } | Input::Tick => Decision::nothing(),
        }
    }

    /// A provider has refused for a reason that an admin mends: not always in the file (an image that
    /// was not built, a program that was not installed), so that reading it again is a new chance.
    fn waits_for_config(&self) -> bool {
        let wrong = |class: &str| matches!(class, "denied" | "bad_config" | "never_fits");
        let offerings = &self.meta.offerings;
        offerings.iter().any(|(_, health)| health.rest_until.is_some() && wrong(&health.class))
    }

    /// An image that does not boot may have been built again under its name. A head that only starts
    /// again knows nothing of that, and goes on pausing.
    fn has_broken_boots(&self) -> bool {
        let mut boots = self.meta.offerings.iter().flat_map(|(_, health)| health.boots.values());
        boots.any(crate::node::BootHealth::is_broken)
    }

    fn decide_started(
        &self,
        version: alloc::string::String,
        config: alloc::boxed::Box<pcluster_model::config::Config>,
        offset_ms: i64,
    ) -> Decision {
        let mut events = Vec::new();
        if self.log_length == 0 {
            events.push(Event::ClusterCreated { cluster: self.meta.cluster.clone() });
        }
        events.push(Event::HeadStarted { version });
        if self.meta.config.as_ref() != Some(&config) || self.waits_for_config() {
            events.push(Event::ConfigChanged { config });
        }
        if offset_ms != self.meta.clock_offset_ms {
            events.push(Event::ClockStepped { offset_ms });
        }
        Decision::events(events)
    }

    fn decide_request(&self, now: Timestamp, who: &Principal, request: Request) -> Decision {
        let decided = match request {
            Request::Submit { spec, key } => self.submit(now, who, spec, key),
            Request::Cancel(target) => self.cancel(who, &target),
            Request::Signal { target, signal, scope } => self.signal(who, &target, signal, scope),
            Request::Hold(target) => self.hold(who, &target),
            Request::Release(target) => self.release(who, &target),
            Request::Requeue(target) => self.requeue(who, &target),
            Request::RequeueHeld(target) => self.requeue_held(who, &target),
            Request::Suspend(target) => self.suspend(who, &target, true),
            Request::Continue(target) => self.suspend(who, &target, false),
            Request::Finish { target, exit_code, signal } => {
                self.finish(who, &target, exit_code, signal)
            }
            Request::Renew(target) => self.renew(who, &target),
            Request::MakeStep { run, ask } => self.make_step(who, run, ask),
            Request::EndStep { run, step, rank, end } => self.end_step(who, (run, step), rank, end),
            Request::RerunFailed { job } => self.rerun_failed(now, who, job),
            Request::Update { target, spec } => self.update(who, &target, spec),
            Request::DrainNode { node } => self.drain_node(who, node),
            Request::ResumeNode { node } => self.resume_node(who, node),
            Request::TerminateNode { node } => self.terminate_node(who, node),
            Request::AdoptUnlogged { instances } => self.adopt_unlogged(now, who, &instances),
            Request::EndUnlogged { instances } => self.end_unlogged(now, who, &instances),
            Request::Down { now } => self.down(who, now),
        };
        decided.unwrap_or_else(Decision::from)
    }

    /// The job, if the principal may change it.
    fn own_job(&self, who: &Principal, id: JobId) -> Result<&Job, Rejection> {
        let job = self.jobs.get(&id).ok_or_else(|| self.no_such_job(id))?;
        if who.admin || who.uid == job.owner.uid {
            return Ok(job);
        }
        Err(Rejection::new(
            RejectionKind::NotAllowed,
            format!("job {id} belongs to {}; you are {}", job.owner.user, who.user),
        )
        .hint("its owner or an admin of the cluster can do this"))
    }

    pub(crate) fn no_such_job(&self, id: JobId) -> Rejection {
        let text = if (1..=self.meta.last_job).contains(&id.0) {
            format!("job {id} ended long ago: there is only its history")
        } else {
            format!("there is no job {id}")
        };
        let rejection = Rejection::new(RejectionKind::NotFound, text);
        match self.jobs.keys().next_back() {
            Some(last) => rejection.fact("last", format!("the newest job is {last}")),
            None => rejection.fact("jobs", "nothing has been submitted yet"),
        }
        .hint("pcluster queue   pcluster history")
    }
}

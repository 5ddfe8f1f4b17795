//! What breaks by itself: every twenty seconds somebody looks for something, until faults end.
//!
//! Invariant: a draw is made only where a kind of fault strikes, so that a kind that is added later
//! changes no story. Deliberately absent: what goes wrong with a message or a call, which is decided
//! where it is sent.
use crate::agent::SimAgent;
use crate::cloud::MachineId;
use crate::faults::Kind;
use crate::head::From;
use crate::scenario::Ask;
use crate::world::{GREMLIN_EVERY, What, World};
use pcluster_core::input::Input;
use pcluster_model::DurationMs;

const HOUR: i64 = 3_600_000;
/// What somebody sets a clock wrong by.
const STEPS: [i64; 6] = [-24 * HOUR, -HOUR, -90_000, 90_000, HOUR, 24 * HOUR];

impl World {
    /// Looks for something to break.
    pub fn gremlin(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let living: Vec<MachineId> = self.cloud.living.iter().copied().collect();
        let victim = self.rng.pick(&living).copied();
        if let Some(machine) = victim {
            self.torment(machine);
        }
        self.torment_head(&living);
        self.torment_provider();
        self.torment_market();
        let held = self.agents.values().filter_map(|agent| agent.conn).collect();
        self.net.sweep(&held);
        self.after(GREMLIN_EVERY.0, What::Gremlin);
    }

    fn clock_error(&mut self) -> i64 {
        *self.rng.pick(&STEPS).unwrap_or(&HOUR)
    }

    fn torment_head(&mut self, living: &[MachineId]) {
        if self.strikes(Kind::ClockStep) {
            let step = self.clock_error();
            self.clock_step(self.wall_ahead_ms + step);
        } else if self.wall_ahead_ms != 0 && self.rng.chance(1_000) {
            self.clock_step(0);
        }
        if self.strikes(Kind::Stall) {
            let span = self.rng.between(6_000, 600_000);
            self.head_sleeps(DurationMs(span));
        }
        if self.strikes(Kind::HeadCutOff) {
            self.cut_off_until = self.now + DurationMs(self.rng.between(20_000, 1_200_000));
            for machine in living {
                self.cut_machine(*machine);
                self.agent_loses_link(*machine);
            }
        }
        if self.strikes(Kind::Drift) {
            self.drifts_until = self.now + DurationMs(self.rng.between(60_000, 900_000));
        }
        if self.now < self.drifts_until {
            let fast = self.rng.between(0, GREMLIN_EVERY.0 / 50);
            self.head_drifts(fast);
        }
        if self.strikes(Kind::Sleep) {
            self.head_sleeps(DurationMs::from_hours(1));
        }
        if self.strikes(Kind::ReadOnly) {
            let until = self.now + DurationMs(self.rng.between(60_000, 1_200_000));
            self.disk_full_until = self.disk_full_until.max(until);
        }
    }

    fn torment_provider(&mut self) {
        if self.strikes(Kind::Throttle) {
            self.cloud.throttled_until = self.now + DurationMs(self.rng.between(20_000, 300_000));
        }
        if self.strikes(Kind::Quota) {
            let until = self.now + DurationMs(self.rng.between(60_000, 1_800_000));
            self.cloud.quota = Some((self.cloud.living.len(), until));
        }
        if self.strikes(Kind::OutOfStock) {
            let until = self.now + DurationMs(self.rng.between(60_000, 1_800_000));
            let pools = &self.config.pools;
            let shapes: Vec<String> =
                pools.iter().flat_map(|pool| &pool.shapes).map(|s| s.name.clone()).collect();
            self.cloud.out_of = self.rng.pick(&shapes).cloned().map(|shape| (shape, until));
        }
    }

    fn torment(&mut self, machine: MachineId) {
        if self.strikes(Kind::MachineDeath) {
            self.machine_ends(machine);
        } else if self.strikes(Kind::Reboot) {
            self.machine_reboots(machine);
        } else if self.strikes(Kind::Partition) {
            let until = self.now + DurationMs(self.rng.between(20_000, 1_800_000));
            self.cut_machine(machine);
            self.agent_loses_link(machine);
            if let Some(agent) = self.agents.get_mut(&machine) {
                agent.cut_off_until = until;
            }
        } else if self.strikes(Kind::OneWay) {
            self.one_way(machine);
        } else if self.strikes(Kind::NewKey) {
            self.agent_forgets_key(machine);
        } else if self.strikes(Kind::AgentCrash) {
            self.agent_crashes(machine);
        } else if self.strikes(Kind::KeeperLost) {
            self.keeper_is_lost(machine);
        } else if self.strikes(Kind::Stray) {
            self.stray(machine);
        } else if self.strikes(Kind::AgentStop) {
            let span = self.rng.between(10_000, 600_000);
            self.agent_stops(machine, DurationMs(span));
        } else if self.strikes(Kind::NodeSleep) {
            let span = self.rng.between(30_000, 7_200_000);
            self.machine_sleeps(machine, DurationMs(span));
        } else if self.strikes(Kind::NodeClock) {
            let step = self.clock_error();
            if let Some(agent) = self.agents.get_mut(&machine) {
                agent.wall_ahead_ms += step;
            }
        } else if self.strikes(Kind::Roam) {
            self.agent_roams(machine);
        } else if self.strikes(Kind::Nonsense) {
            self.agent_talks_nonsense(machine);
        } else if self.strikes(Kind::BadShare) {
            let span = self.rng.between(20_000, 1_800_000);
            self.share_turns_bad(machine, DurationMs(span));
        } else if self.cloud.machines[&machine].spot && self.strikes(Kind::Reclaim) {
            self.reclaim(machine);
        }
    }

    /// No fault strikes any more, and what lasted is over, but for what stands still.
    fn faults_end(&mut self) {
        self.healed = Some(self.now);
        let bad = |agent: &&SimAgent| agent.bad_share_until > self.now;
        let bad: Vec<MachineId> = self.agents.values().filter(bad).map(|agent| agent.id).collect();
        for id in bad {
            self.after(1_000, What::Prove { machine: id });
        }
        for machine in self.cloud.machines.values_mut() {
            machine.deaf = 0;
        }
        for agent in self.agents.values_mut() {
            agent.cut_off_until = self.now;
            agent.wall_ahead_ms = 0;
            agent.bad_share_until = self.now;
        }
        self.cut_off_until = self.now;
        self.disk_full_until = self.now;
        self.drifts_until = self.now;
        self.cloud.throttled_until = self.now;
        (self.cloud.quota, self.cloud.out_of, self.cloud.no_spot) = (None, None, None);
    }

    /// Faults end: the head is up, clocks are right, users let go of what they hold.
    pub fn heal(&mut self) {
        self.trace.line(self.now, format_args!("HEALED"));
        self.faults_end();
        self.clock_step(0);
        self.config = self.scenario.last_config.clone();
        let config = Box::new(self.config.clone());
        self.head_input(Input::ConfigChanged { config }, From::Nobody);
        if let Some(now) = self.scenario.down {
            let client = self.users.add(Ask::Down { now });
            self.after(5_000, What::Ask { client });
        }
        for client in self.users.let_go() {
            self.after(1_000, What::Ask { client });
        }
    }

    /// The head is lost with its disk, at any moment: in the middle of launches, runs and ends.
    pub fn abandon(&mut self) {
        self.trace.line(self.now, format_args!("ABANDONED"));
        self.faults_end();
        self.abandoned = Some(self.now);
        self.head_dies();
    }
}

//! What `srun` and a step daemon tell each other inside a session.
//!
//! Invariant: added fields have defaults and unknown ones are ignored, so that a command and a daemon
//! of neighbouring versions understand each other. Data is binary, all else JSON.
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Input for every task of the part that takes input.
pub const EVERY_TASK: u32 = u32::MAX;

/// Which stream of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    In,
    Out,
    Err,
}

/// One message, told apart by its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<C> {
    Control(C),
    /// Bytes of a task; none at all: it ends there.
    Data {
        task: u32,
        channel: Channel,
        bytes: Vec<u8>,
    },
}

impl<C: Serialize + DeserializeOwned> Message<C> {
    /// As the payload of a session.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Control(control) => {
                let mut out = vec![0];
                out.extend(serde_json::to_vec(control).unwrap_or_default());
                out
            }
            Self::Data { task, channel, bytes } => {
                let mut out = Vec::with_capacity(5 + bytes.len());
                out.push(match channel {
                    Channel::In => 1,
                    Channel::Out => 2,
                    Channel::Err => 3,
                });
                out.extend(task.to_be_bytes());
                out.extend(bytes);
                out
            }
        }
    }

    /// `None` for what this version does not understand.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        let channel = match kind {
            0 => return serde_json::from_slice(rest).ok().map(Self::Control),
            1 => Channel::In,
            2 => Channel::Out,
            3 => Channel::Err,
            _ => return None,
        };
        let (task, bytes) = rest.split_first_chunk::<4>()?;
        Some(Self::Data { task: u32::from_be_bytes(*task), channel, bytes: bytes.to_vec() })
    }
}

/// To the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNode {
    /// The first message: start these tasks.
    Launch(Box<StepOrder>),
    /// The first message, otherwise: show what this step writes from now on, and forward input.
    Attach { step: u32 },
    /// The first message, otherwise: what does this step use; without a number, the batch script.
    Usage { step: Option<u32> },
    /// A signal to tasks by their numbers in the step; none: to all.
    Signal {
        signal: i32,
        #[serde(default)]
        tasks: Vec<u32>,
    },
    /// The terminal has another size.
    Resize { rows: u16, columns: u16 },
    /// End all tasks: TERM, and KILL after the grace.
    End { grace_ms: u64 },
    /// Every part has come to the barrier; what was put meanwhile, by everybody.
    BarrierOut { puts: Vec<(String, String)> },
    /// Everything has arrived: the session may be forgotten.
    Bye,
}

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromNode {
    /// The tasks run: number and process of each.
    Launched { tasks: Vec<(u32, u32)> },
    /// Nothing was started, and why.
    Refused { why: String },
    /// A task has ended.
    Ended { task: u32, exit: TaskExit },
    /// This much input was taken by all tasks of the part.
    InputTaken { bytes: u64 },
    /// A line for the people who look at stderr.
    Notice { text: String },
    /// The job is being ended, and its steps with it.
    Cancelled,
    /// All tasks of the part that started the library are in the barrier; what they have put.
    BarrierIn { puts: Vec<(String, String)> },
    /// A task has called for the end of the whole step.
    Abort { task: u32, code: i32, text: String },
    /// All tasks have ended, their output is sent, and the head knows.
    Done,
    /// What was asked for; nothing follows.
    Usage(Box<PartUsage>),
}

/// The most or the least of all tasks, and the task that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Most {
    pub amount: u64,
    pub task: u32,
}

impl Most {
    /// Takes more; the first one whatever it is.
    pub fn raise(&mut self, amount: u64, task: u32, first: bool) {
        if first || amount > self.amount {
            *self = Self { amount, task };
        }
    }
}

/// What the tasks of a part use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PartUsage {
    /// Tasks that have been looked at.
    pub tasks: u32,
    /// Of all tasks together.
    pub user_cpu_ms: u64,
    pub system_cpu_ms: u64,
    pub rss_bytes: u64,
    pub vm_bytes: u64,
    /// Of one task, at most so far.
    pub max_rss_bytes: Most,
    pub max_vm_bytes: Most,
    /// Of one task, at least.
    pub min_cpu_ms: Most,
    /// Their processes.
    pub pids: Vec<u32>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskExit {
    pub code: i32,
    /// 0 for none.
    pub signal: i32,
    pub core_dumped: bool,
    /// It had started a message-passing library and not ended it.
    pub unfinished: bool,
    /// It was killed because the step, or the job, took more memory than it may.
    pub out_of_memory: bool,
}

impl TaskExit {
    /// As a shell would say it.
    #[must_use]
    pub fn shell_code(&self) -> i32 {
        if self.signal == 0 { self.code } else { 128 + self.signal }
    }
}

/// Everything a part needs to run its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepOrder {
    pub run: u64,
    pub step: u32,
    /// For people: `165.0`.
    pub label: String,
    /// This part's place in the allocation.
    pub rank: u32,
    pub tasks: Vec<TaskOrder>,
    /// What all tasks have in their environment; a task's own comes over it.
    pub environment: Vec<(String, String)>,
    pub work_dir: String,
    pub umask: Option<u32>,
    /// `stack`, … and the value, `None` for unlimited.
    pub soft_limits: Vec<(String, Option<u64>)>,
    pub bind: Bind,
    pub cpus_per_task: u32,
    /// CPUs of the job on this node.
    pub node_cpus: u32,
    /// Task 0 has a terminal of this size (rows, columns).
    pub terminal: Option<(u16, u16)>,
    /// Output goes as it comes, not by lines.
    pub unbuffered: bool,
    pub library: Option<LibraryOrder>,
    /// What its tasks may take together on this node; `None`: what the job has.
    pub memory_bytes: Option<u64>,
    /// GPUs of its tasks on this node; `None`: all of the job's.
    pub gpus: Option<u32>,
    /// Each task has so many of its own.
    pub gpus_per_task: Option<u32>,
    /// Its tasks start as the job's script does: in the job's environment, below that of this order,
    /// its directory and its mask. Of the node's own daemon: as after a login.
    pub as_the_job: bool,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskOrder {
    /// Its number in the step.
    pub number: u32,
    pub argv: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub input: Input,
    pub output: Output,
    pub error: Output,
}

/// Where a task's input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    #[default]
    Nothing,
    Client,
    File(String),
}

/// Where a task's output goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    Nothing,
    #[default]
    Client,
    File {
        path: String,
        append: bool,
    },
    /// The errors: with the output.
    WithOutput,
}

/// Which CPUs a task may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bind {
    /// Those of the job on this node.
    #[default]
    Free,
    /// As `Tasks` when the tasks take all CPUs of the job on this node, else as `Free`: a launcher
    /// that starts more processes by itself must not be tied to one CPU.
    Auto,
    /// Each task to as many of its own as it asked for.
    Tasks,
    /// These, one set a task, from the first again when there are more tasks.
    Sets(Vec<Vec<u32>>),
}

/// What the process manager interface tells the tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LibraryOrder {
    /// Name of the key space, the same on all parts.
    pub name: String,
    /// Tasks of the whole step.
    pub size: u32,
    /// `(vector,(0,2,2))`: which tasks share a node.
    pub mapping: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let order = StepOrder {
            tasks: vec![TaskOrder { argv: vec!["a".into()], ..Default::default() }],
            ..Default::default()
        };
        let data = Message::Data { task: 7, channel: Channel::Err, bytes: b"\0\xff".to_vec() };
        for message in [Message::Control(ToNode::Launch(Box::new(order))), data] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::<ToNode>::decode(b""), None);
        assert_eq!(Message::<ToNode>::decode(b"\x02\0"), None);
        assert_eq!(Message::<ToNode>::decode(b"\0{\"never_heard_of\":1}"), None);
    }

    #[test]
    fn fields_of_later_versions_are_ignored_and_missing_ones_have_defaults() {
        let text = r#"{"launch":{"run":4,"tasks":[{"number":1,"later":true}],"later":1}}"#;
        let Ok(ToNode::Launch(order)) = serde_json::from_str(text) else { panic!() };
        assert_eq!((order.run, order.tasks[0].number), (4, 1));
        assert_eq!(order.tasks[0].output, Output::Client);
    }

    #[test]
    fn a_signal_counts_from_128() {
        assert_eq!(TaskExit { signal: 9, ..Default::default() }.shell_code(), 137);
        assert_eq!(TaskExit { code: 5, ..Default::default() }.shell_code(), 5);
    }
}

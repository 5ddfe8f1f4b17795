//! What a job takes over from the process that submits it: directory, umask, soft limits.
//!
//! Invariant: read before any thread is started, because the umask can only be read by setting it.
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, umask};

/// Facts of this process that become part of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// `None`: the directory is gone or not readable.
    pub work_dir: Option<String>,
    pub umask: Option<u32>,
    /// Name and value; `None` is unlimited.
    pub soft_limits: Vec<(String, Option<u64>)>,
    /// The job goes to another machine's head: nothing of this login's environment belongs there.
    pub is_elsewhere: bool,
}

impl ProcessFacts {
    /// What `--export` is when nobody says it.
    #[must_use]
    pub fn export(&self) -> Option<&'static str> {
        self.is_elsewhere.then_some("NONE")
    }
}

/// Limits that travel. Not the number of processes: it counts all of a user's processes on a
/// machine, and this machine's number means nothing on another.
const LIMITS: [(&str, Resource); 8] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("memlock", Resource::Memlock),
    ("nofile", Resource::Nofile),
    ("stack", Resource::Stack),
];

/// Those of this process. Call it before threads are started.
#[must_use]
pub fn facts() -> ProcessFacts {
    let mask = umask(Mode::from_raw_mode(0o077));
    umask(mask);
    #[cfg_attr(
        target_os = "linux",
        expect(clippy::useless_conversion, reason = "a mode has 16 bits on macOS")
    )]
    let mask = u32::from(mask.as_raw_mode());
    let directory = std::env::current_dir().ok();
    ProcessFacts {
        work_dir: directory.and_then(|path| path.into_os_string().into_string().ok()),
        umask: Some(mask),
        soft_limits: LIMITS
            .map(|(name, resource)| (name.to_owned(), getrlimit(resource).current))
            .to_vec(),
        is_elsewhere: false,
    }
}

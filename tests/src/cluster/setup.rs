//! What stands in a cluster's file, and how its programs are put.
use crate::people::Person;
use std::path::PathBuf;

/// What stands in `cluster.toml`.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The inside of `compute = { … }`; `idle_timeout` and `price` are added unless it has them.
    pub compute: String,
    /// Lines of `[head]`; short times are added unless it has them.
    pub head: String,
    /// Lines at the end of the file.
    pub more: String,
    /// Where nodes come from.
    pub provider: String,
    /// Who runs the cluster, if not the user of the test.
    pub person: Option<Person>,
    /// The socket where an installation has it, so that other users find root's head.
    pub system_socket: bool,
    /// A folder with the programs of another version: they are copied, so that [`crate::bins::put`] can
    /// replace them as an upgrade does.
    pub programs: Option<PathBuf>,
    /// What nodes do only after [`super::Cluster::open_gate`]: `machine` is a boot that takes as long as a
    /// test wants, `sweep` an end that does.
    pub gated: Option<&'static str>,
    /// What every program of the cluster finds in its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            compute: "cpus = 1, memory = \"512 MB\", max = 2".to_owned(),
            head: String::new(),
            more: String::new(),
            provider: "process".to_owned(),
            person: None,
            system_socket: false,
            programs: None,
            gated: None,
            environment: Vec::new(),
        }
    }
}

impl Setup {
    /// As the default, with this inside `compute = { … }`.
    #[must_use]
    pub fn compute(words: &str) -> Self {
        Self { compute: words.to_owned(), ..Self::default() }
    }

    pub(super) fn file(&self, name: &str) -> String {
        let mut compute = self.compute.clone();
        for (key, value) in [("idle_timeout", "\"2 s\""), ("price", "\"$3.6/h\"")] {
            if !compute.contains(key) {
                compute.push_str(&format!(", {key} = {value}"));
            }
        }
        let mut head = self.head.clone();
        let mut short =
            vec![("settle", "\"1 s\""), ("term_grace", "\"1 s\""), ("sweep", "\"5 s\"")];
        if self.more.contains("launcher") {
            // Nodes with addresses of their own: this machine's file is none of a test's.
            short.push(("hosts_file", "\"none\""));
        }
        for (key, value) in short {
            if !head.contains(key) {
                head.push_str(&format!("{key} = {value}\n"));
            }
        }
        format!(
            "name = \"{name}\"\nprovider = \"{}\"\ncompute = {{ {compute} }}\n\n[head]\n{head}\n{}\n",
            self.provider, self.more
        )
    }
}

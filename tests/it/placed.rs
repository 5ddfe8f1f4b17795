//! A head that lives on an instance: `up` on a laptop places it there, `down` removes it.
//!
//! The instance is a container of the tests' cloud with an SSH server of its own; the laptop is a folder with a home.
use pcluster_tests::cloud::Cloud;
use pcluster_tests::{Said, bins, people, procs, skip, until};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `up` makes a machine, sends programs there and starts a head.
const UP: Duration = Duration::from_secs(240);

/// A laptop with five lines, and the account that they are for.
struct Laptop {
    root: PathBuf,
    name: String,
    cloud: Cloud,
}

impl Laptop {
    fn new(label: &str) -> Option<Self> {
        if !people::is_root() {
            skip("machines of the cloud need root here");
            return None;
        }
        let name = format!("h{}-{label}", std::process::id());
        let root = std::env::temp_dir().join(format!("pct-{name}"));
        drop(fs::remove_dir_all(&root));
        for folder in ["home", "work", "said", "bin", "shared"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(root.join("shared"), open).unwrap();
        let cloud = Cloud::start(&root.join("cloud"), true)?;
        let laptop = Self { root, name, cloud };
        laptop.stripped();
        laptop.write("t3.medium");
        Some(laptop)
    }

    /// Programs without what debuggers want: they are sent over a network.
    fn stripped(&self) {
        for name in bins::NAMES {
            let to = self.root.join("bin").join(name);
            let mut strip = Command::new("strip");
            let done = strip.arg("-o").arg(&to).arg(bins::folder().join(name)).status();
            if !done.is_ok_and(|status| status.success()) {
                fs::copy(bins::folder().join(name), &to).unwrap();
            }
        }
    }

    fn write(&self, machine: &str) {
        // Containers share this machine's network, where other tests have heads, too.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).unwrap().port();
        let text = format!(
            "provider = \"ec2\"\nname = \"{}\"\nhead = {{ type = \"{machine}\", listen = \"0.0.0.0:{port}\", \
             hosts_file = \"none\" }}\ncompute = {{ types = [\"c6i.large\"], max = 2, idle_timeout = \"5 s\" }}\n\
             storage = {{ shared = \"{}\", from = \"mounted\", home = \"local\" }}\n[ec2]\nallow = [\"127.0.0.0/8\"]\n",
            self.name,
            self.root.join("shared").display()
        );
        fs::write(self.root.join("work/cluster.toml"), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("bin/pcluster"));
        command.args(words).current_dir(self.root.join("work")).env_clear();
        command.env("HOME", self.root.join("home")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("USER", "ana").env("LANG", "C.UTF-8").env("TZ", "UTC").stdin(Stdio::null());
        // Whatever is left of this test is found by it.
        command.env("PCT_ROOM", &self.root).envs(self.cloud.environment());
        command
    }

    fn says(&self, words: &[&str]) -> Said {
        Said::of(&mut self.command(words), &self.root.join("said"), UP)
    }

    fn json(&self, words: &[&str]) -> Value {
        let said = self.says(&[words, &["--json"]].concat()).expect_code(0);
        serde_json::from_str(&said.out).unwrap()
    }

    /// Instances of this type that live.
    fn living(&self, machine: &str) -> Vec<String> {
        let meter = self.cloud.see("meter");
        let spans = meter.as_array().cloned().unwrap_or_default();
        spans
            .into_iter()
            .filter(|span| span["type"] == machine && span["ended"].is_null())
            .map(|span| span["instance"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn volumes(&self) -> Vec<Value> {
        let all = self.cloud.see("volumes").as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|volume| volume["deleted"].is_null()).collect()
    }

    fn nothing_lives(&self) {
        let meter = self.cloud.see("meter");
        let spans = meter.as_array().unwrap();
        assert!(spans.iter().all(|span| !span["ended"].is_null()), "{meter:#}");
        let facts = self.cloud.see("facts");
        let own = |group: &&Value| group.as_str().unwrap_or_default().starts_with("pcluster-");
        assert_eq!(facts["groups"].as_array().unwrap().iter().find(own), None, "{facts}");
    }

    fn record(&self) -> PathBuf {
        self.root.join(format!("home/.config/pcluster/placed/{}.toml", self.name))
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        let left = procs::end_all(&self.root, Duration::from_secs(20));
        if !std::thread::panicking() {
            assert!(left.is_empty(), "these would not end: {left:#?}");
        }
        if !std::thread::panicking() || std::env::var_os("PCT_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.root));
        }
    }
}

#[test]
fn five_lines_on_a_laptop_become_a_head_in_the_cloud_and_nothing_again() {
    let Some(laptop) = Laptop::new("five") else { return };
    // Nothing is made before somebody has seen what it costs.
    let said = laptop.says(&["up"]).expect_code(3);
    assert!(said.err.contains("t3.medium") && said.err.contains("--yes"), "{said:#?}");
    assert!(laptop.cloud.see("meter").as_array().unwrap().is_empty() && !laptop.record().exists());

    let said = laptop.says(&["up", "--yes"]).expect_code(0);
    assert!(said.err.contains("is up: ec2 nodes"), "{said:#?}");
    assert_eq!((laptop.living("t3.medium").len(), laptop.volumes().len()), (1, 1));
    assert!(laptop.says(&["up"]).expect_code(0).err.contains("is up already"));

    let shared = laptop.root.join("shared").display().to_string();
    // Jobs go there, run on nodes that it starts, as the account that the machine is for.
    let said = laptop
        .says(&["run", "-D", &shared, "--", "sh", "-c", "echo $(id -un) on $(hostname)"])
        .expect_code(0);
    assert_eq!(said.out.trim(), "ana on compute-1");
    fs::write(laptop.root.join("work/job.sh"), "#!/bin/sh\nsleep 600\n").unwrap();
    let id = laptop
        .says(&["submit", "-q", "--hold", "-D", &shared, "job.sh"])
        .expect_code(0)
        .out
        .trim()
        .to_owned();

    // The state outlives the machine.
    let said = laptop.says(&["down"]).expect_code(0);
    let volume = laptop.volumes()[0]["volume"].as_str().unwrap().to_owned();
    assert!(said.out.contains("0 left") && said.out.contains(&volume), "{said:#?}");
    laptop.nothing_lives();
    laptop.says(&["queue"]).expect_code(6);
    let said = laptop.says(&["up", "--yes"]).expect_code(0);
    assert!(said.err.contains(&volume), "{said:#?}");
    assert_eq!(laptop.json(&["show", &id])["rows"][0]["state"], "held");
    assert_eq!(laptop.json(&["history"])["jobs"].as_array().map(Vec::len), Some(1));

    // The machine dies: what there was is ended from here, and only when that is said.
    let head = laptop.living("t3.medium").remove(0);
    laptop.cloud.tell("end", &json!({"instance": head, "how": "power_cut"}));
    let said = laptop.says(&["down"]).expect_code(6);
    assert!(said.err.contains("down --now"), "{said:#?}");
    laptop.says(&["down", "--now"]).expect_code(0);
    laptop.nothing_lives();
    assert_eq!(laptop.volumes().len(), 1);

    // And at last the storage, by its name.
    laptop.says(&["down", "--delete-storage"]).expect_code(3);
    laptop.says(&["down", "--delete-storage=other"]).expect_code(3);
    assert_eq!(laptop.volumes().len(), 1);
    laptop.says(&["down", &format!("--delete-storage={}", laptop.name)]).expect_code(0);
    assert!(laptop.volumes().is_empty() && !laptop.record().exists());
    laptop.says(&["down"]).expect_code(6);
}

/// Answers that are lost, calls that fail in the middle: the next `up` goes on with what is there.
#[test]
fn an_up_that_was_interrupted_anywhere_is_gone_on_with() {
    let Some(laptop) = Laptop::new("again") else { return };
    for action in
        ["CreateSecurityGroup", "RunInstances", "CreateVolume", "AttachVolume", "GetConsoleOutput"]
    {
        let fault = json!([{"action": action, "kind": "error", "code": "InternalError", "status": 500, "times": 20},
                           {"action": action, "kind": "lost", "times": 20}]);
        laptop.cloud.tell("faults", &fault);
        let mut up = laptop.command(&["up", "--yes"]);
        let mut child = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = laptop.cloud.see("calls")[action].as_u64().unwrap_or(0);
        until(&format!("a call of {action}"), || {
            let now = laptop.cloud.see("calls")[action].as_u64().unwrap_or(0);
            (now > before || child.try_wait().unwrap().is_some()).then_some(())
        });
        drop(child.kill());
        drop(child.wait());
        laptop.cloud.tell("faults", &json!([]));
        assert!(laptop.living("t3.medium").len() <= 1 && laptop.volumes().len() <= 1, "{action}");
    }
    // In the middle of what is done on the machine.
    for moment in ["mounting", "sending pcluster-agent", "starting the head"] {
        let log = laptop.root.join("said/up");
        let mut up = laptop.command(&["up", "--yes"]);
        let file = fs::File::create(&log).unwrap();
        let mut child = up.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        until(moment, || {
            let is_there = fs::read_to_string(&log).unwrap_or_default().contains(moment);
            (is_there || child.try_wait().unwrap().is_some()).then_some(())
        });
        drop(child.kill());
        drop(child.wait());
    }
    let said = laptop.says(&["up", "--yes"]).expect_code(0);
    assert!(said.err.contains("is up"), "{said:#?}");
    assert_eq!((laptop.living("t3.medium").len(), laptop.volumes().len()), (1, 1));
    let said = laptop.says(&["down", &format!("--delete-storage={}", laptop.name)]).expect_code(0);
    assert!(said.out.contains("gone       the queue"), "{said:#?}");
    laptop.nothing_lives();
    assert!(laptop.volumes().is_empty());
}

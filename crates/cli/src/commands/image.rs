//! `image`: what virtual machines boot from.
//!
//! Invariant: building, listing and removing is done by the head's own program on this machine; a trial
//! is a cluster of its own, which is gone afterwards. Deliberately absent: images of clouds.
use super::up::{find_head, run_head};
use crate::cluster::{Global, head, need_file, surroundings};
use crate::config_file;
use crate::failure::{Failure, Outcome, code};
use crate::say;
use clap::{Args, Subcommand};
use pcluster_api::NodeView;
use pcluster_api::client::Client;
use pcluster_model::DurationMs;
use pcluster_model::units::parse_duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ASK_EVERY: Duration = Duration::from_millis(250);
/// Of a console whose machine did not register.
const LAST_LINES: usize = 20;

/// Build and try the images of virtual machines
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster image build genomics      from [images.genomics] of cluster.toml
  pcluster image test genomics       boots one machine and runs a job on it
  pcluster image list                what is there")]
pub struct ImageArgs {
    #[command(subcommand)]
    pub what: What,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Build an image from its recipe in cluster.toml
    #[command(after_help = "\
Examples:
  pcluster image build genomics
  sudo pcluster image build genomics --again    with the packages of today

A recipe is a table of the file:
  [images.genomics]
  base     = \"debian-12\"                 # or minimal: busybox, in memory
  packages = [\"bwa\", \"samtools\"]
  files    = { \"/etc/motd\" = \"motd\" }
  setup    = \"setup.sh\"                  # runs as root in the image

A build has a name of its own, made of what is in it: image = \"genomics\" is the
newest, image = \"genomics@3f2a9c\" that one. A build that fails leaves nothing.")]
    Build {
        #[arg(value_name = "IMAGE")]
        name: String,
        /// Also when a build of this recipe is there
        #[arg(long)]
        again: bool,
    },
    /// List the images on this machine
    #[command(after_help = "\
Examples:
  pcluster image list
  pcluster image list --json | jq '.images[].bytes'")]
    List,
    /// Boot one machine from an image, and prove that it registers and runs a job
    #[command(after_help = "\
Examples:
  pcluster image test genomics
  pcluster image test genomics@3f2a9c --memory '2 GB'

The machine belongs to a cluster of its own, which is gone afterwards; the cluster
of this file notices nothing. Exit code 1, and the end of the console, when the
machine does not register or cannot run a job.")]
    Test(TestArgs),
    /// Remove a build; machines that run from it go on
    #[command(after_help = "\
Examples:
  pcluster image remove genomics@3f2a9c
  pcluster image remove genomics           the newest build")]
    Remove {
        #[arg(value_name = "IMAGE@BUILD")]
        name: String,
    },
}

/// The machine of a trial.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[arg(value_name = "IMAGE", default_value = "minimal")]
    pub name: String,
    /// Memory of the machine
    #[arg(long, default_value = "1 GB")]
    pub memory: String,
    /// How long it may take
    #[arg(long, default_value = "5 min", value_parser = duration)]
    pub timeout: DurationMs,
}

fn duration(text: &str) -> Result<DurationMs, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// `image`.
///
/// # Errors
/// No file of a cluster, no program of the head, a trial that cannot begin.
pub async fn run(global: &Global, args: &ImageArgs) -> Outcome {
    let file = need_file(global, &surroundings())?;
    let mut command = Command::new(find_head()?);
    command.arg("image").arg("--config").arg(&file);
    if global.json {
        command.arg("--json");
    }
    match &args.what {
        What::Build { name, again } => {
            command.arg("build").arg(name).args(again.then_some("--again"));
            let done = run_head(&mut command)?;
            if done == code::DONE {
                tell_head(global).await;
            }
            Ok(done)
        }
        What::List => run_head(command.arg("list")),
        What::Remove { name } => run_head(command.arg("remove").arg(name)),
        What::Test(test) => trial(global, &file, test).await,
    }
}

/// A pool that waits for this image tries again: the head reads its file.
async fn tell_head(global: &Global) {
    let Ok(head) = head(global) else { return };
    let Ok(status) = head.client.status().await else { return };
    let pid = i32::try_from(status.pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // A head of another user's is told by that user's `image build`.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::HUP);
    }
}

/// A cluster for one machine, and nothing left of it.
struct Trial {
    folder: PathBuf,
    name: String,
    images: PathBuf,
}

impl Trial {
    fn new(file: &Path, test: &TestArgs) -> Result<Self, Failure> {
        let here = surroundings();
        let loaded = config_file::load(file)?;
        let config = config_file::config(&loaded)?;
        let places = here.places(&config.name)?;
        let name = format!("trial-{}", std::process::id());
        let folder = std::env::temp_dir().join(format!("pcluster-{name}"));
        let failed = |error: std::io::Error| {
            Failure::refused(format!("cannot make {}: {error}", folder.display()))
        };
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().mode(0o755).create(&folder).map_err(failed)?;
        let trial = Self { images: places.images, name, folder: folder.clone() };
        fs::create_dir(folder.join("shared")).map_err(failed)?;
        let boot = test.timeout.0.div_ceil(1000);
        let vm = vm_table(config);
        let qcow2 = config.image(&test.name).and_then(|image| match &image.source {
            pcluster_model::config::ImageSource::Qcow2(path) => Some(path.clone()),
            _ => None,
        });
        let disk = qcow2.map(|path| format!("[images.{}]\nqcow2 = {path:?}\n", test.name));
        let text = format!(
            "name = {:?}\nprovider = \"vm\"\nimage = {:?}\n\
             compute = {{ cpus = 1, memory = {:?}, max = 1, idle_timeout = \"1 s\", \
             boot_timeout = \"{boot} s\", boot_limit = \"{boot} s\" }}\n\
             storage = {{ shared = {:?}, local = \"1 GB\", home = \"local\" }}\n\
             [limits]\nroot_jobs = true\n[head]\nlisten = \"127.0.0.1:0\"\n{vm}{}",
            trial.name,
            test.name,
            test.memory,
            folder.join("shared").display().to_string(),
            disk.unwrap_or_default()
        );
        fs::write(folder.join("cluster.toml"), text).map_err(failed)?;
        Ok(trial)
    }

    fn command(&self, words: &[&str]) -> Result<Command, Failure> {
        let own = std::env::current_exe()
            .map_err(|error| Failure::refused(format!("cannot find this program: {error}")))?;
        let mut command = Command::new(own);
        command.arg("--config").arg(self.folder.join("cluster.toml")).args(words);
        command.current_dir(self.folder.join("shared")).stdin(Stdio::null());
        command.env("PCLUSTER_STATE_DIR", self.folder.join("state"));
        command.env("PCLUSTER_RUNTIME_DIR", self.folder.join("run"));
        command.env("PCLUSTER_IMAGES_DIR", &self.images);
        command.env_remove("PCLUSTER_CONFIG").env_remove("PCLUSTER_CLUSTER");
        Ok(command)
    }

    fn client(&self) -> Client {
        Client::new(self.folder.join("run").join(&self.name).join("head.sock"))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Ok(mut down) = self.command(&["down", "--now"]) {
            let _ = down.output();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the real file says of virtual machines, but for the network: a trial has one machine.
fn vm_table(config: &pcluster_model::config::Config) -> String {
    use pcluster_model::config::VmAccel;
    let accel = match config.vm.accel {
        VmAccel::Auto => "auto",
        VmAccel::Kvm => "kvm",
        VmAccel::Tcg => "tcg",
    };
    let kernel = config.vm.kernel.as_ref();
    let kernel =
        kernel.map(|(kernel, modules)| format!("kernel = {kernel:?}\nmodules = {modules:?}\n"));
    format!("[vm]\naccel = \"{accel}\"\n{}", kernel.unwrap_or_default())
}

/// How a trial went.
enum Verdict {
    Runs,
    /// Why not, and the end of its console.
    Fails(String, Vec<String>),
}

async fn trial(global: &Global, file: &Path, test: &TestArgs) -> Outcome {
    let trial = Trial::new(file, test)?;
    let failed =
        |error: std::io::Error| Failure::refused(format!("the trial cannot begin: {error}"));
    let up = trial.command(&["up"])?.output().map_err(failed)?;
    if !up.status.success() {
        let said = String::from_utf8_lossy(&up.stderr).trim().to_owned();
        return Err(Failure::refused(format!("the trial cannot begin: {said}")));
    }
    let started = Instant::now();
    let mut job = trial.command(&["run", "--", "true"])?;
    let job = job.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let verdict = watch(&trial, job, test, started).await?;
    let seconds = started.elapsed().as_secs_f32();
    let (runs, why, console) = match verdict {
        Verdict::Runs => (true, String::new(), Vec::new()),
        Verdict::Fails(why, console) => (false, why, console),
    };
    if global.json {
        say::json(&serde_json::json!({
            "schema": "pcluster.image_test/1", "image": test.name, "runs": runs,
            "seconds": seconds, "why": why, "console": console,
        }))?;
    } else if runs {
        say::data(&format!("{} boots, registers and runs a job: {seconds:.1} s\n", test.name))?;
    } else {
        let console: String = console.iter().map(|line| format!("  {line}\n")).collect();
        say::data(&format!("{} cannot be used: {why}\n{console}", test.name))?;
    }
    Ok(if runs { code::DONE } else { code::ATTENTION })
}

/// Follows the machine until its job has ended or it has failed.
async fn watch(
    trial: &Trial,
    mut job: Child,
    test: &TestArgs,
    started: Instant,
) -> Result<Verdict, Failure> {
    let client = trial.client();
    let until = started + Duration::from_millis(test.timeout.0);
    let mut told = String::new();
    let verdict = loop {
        if let Ok(Some(status)) = job.try_wait() {
            if status.success() {
                return Ok(Verdict::Runs);
            }
            break Verdict::Fails(format!("the job ended with {status}"), Vec::new());
        }
        let nodes = client.nodes().await.map(|list| list.nodes).unwrap_or_default();
        if let Some(failed) = nodes.iter().find(|node| has_failed(node)) {
            let why = failed.why.clone().unwrap_or_else(|| "the machine is gone".into());
            break Verdict::Fails(why, console(trial, failed).await);
        }
        if let Some(why) = refused(&client).await {
            break Verdict::Fails(why, Vec::new());
        }
        let phase = nodes.iter().find_map(|node| node.phase.clone()).unwrap_or_default();
        if phase != told && !phase.is_empty() {
            say::talk(&format!("{:>5.1} s  {phase}\n", started.elapsed().as_secs_f32()));
            told = phase;
        }
        if Instant::now() >= until {
            let why = format!("no job has run after {} s", test.timeout.0 / 1000);
            let lines = match nodes.first() {
                Some(node) => console(trial, node).await,
                None => Vec::new(),
            };
            break Verdict::Fails(why, lines);
        }
        tokio::time::sleep(ASK_EVERY).await;
    };
    let _ = job.kill();
    let _ = job.wait();
    Ok(verdict)
}

fn has_failed(node: &NodeView) -> bool {
    matches!(node.state.as_str(), "failed" | "refused" | "gone" | "stopping" | "lost")
        && node.ready_at_ms.is_none()
}

/// What the provider says when it launches nothing.
async fn refused(client: &Client) -> Option<String> {
    let status = client.status().await.ok()?;
    let of_pool = |(about, _): &&(String, String)| about == "compute";
    status.attention.iter().find(of_pool).map(|(_, words)| words.clone())
}

/// The end of a machine's console, from the head's machine itself.
async fn console(trial: &Trial, node: &NodeView) -> Vec<String> {
    let Some(instance) = &node.instance else { return Vec::new() };
    let nodes = trial.folder.join("state").join(&trial.name).join("nodes");
    let text = fs::read(nodes.join(instance).join("console.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let plain = |line: &str| line.chars().filter(|letter| !letter.is_control()).collect::<String>();
    let lines: Vec<String> = text.lines().map(plain).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

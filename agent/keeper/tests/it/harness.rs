//! A scratch directory with one run in it, and waiting for conditions.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use pcluster_keeper::{
    Adopted, ExitRecord, KeeperHandle, RunDir, RunOrder, kill_leftovers, proc, spawn_keeper,
};

pub const BINARY: &str = env!("CARGO_BIN_EXE_pcluster-keeper");
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `look` gives something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the test can run here; says so when not.
pub fn needs_root(test: &str) -> bool {
    if !is_root() {
        eprintln!("NOT RUN: {test} needs root");
    }
    is_root()
}

pub fn alive(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.is_live())
}

/// A run in a scratch directory; everything of it is gone when this is dropped.
pub struct Run {
    pub root: PathBuf,
    pub dir: RunDir,
    pub order: RunOrder,
    pub keeper: Option<Child>,
}

impl Run {
    /// A run of a shell command, with `tmp_parent` and a `PATH`.
    pub fn shell(command: &str) -> Self {
        Self::of(&["/bin/sh", "-c", command])
    }

    pub fn of(argv: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("pk {}-{number}", std::process::id()));
        fs::create_dir(&root).unwrap();
        // Other users must be able to work in `work`, and only there.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, mode) in [("work", 0o777), ("scratch", 0o755)] {
            fs::create_dir(root.join(name)).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let mut order = RunOrder::new(7, argv, root.join("work"), root.join("work/out"));
        order.job = "42".into();
        order.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        order.tmp_parent = Some(root.join("scratch"));
        order.term_grace_ms = 200;
        Self { dir: RunDir::new(root.join("run")), root, order, keeper: None }
    }

    /// The command becomes a script.
    pub fn script(text: &str, arguments: &[&str]) -> Self {
        let mut run = Self::of(&[&["script"], arguments].concat());
        fs::create_dir(run.dir.path()).unwrap();
        fs::set_permissions(run.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let path = run.dir.path().join("script");
        fs::write(&path, text).unwrap();
        run.order.script_path = Some(path);
        run
    }

    pub fn work(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    pub fn start(&mut self) {
        self.dir.prepare(&self.order).unwrap();
        self.keeper = Some(spawn_keeper(Path::new(BINARY), &self.dir).unwrap());
    }

    /// Starts and waits for the end; the keeper must leave with success.
    pub fn finish(&mut self) -> ExitRecord {
        self.start();
        self.wait()
    }

    pub fn wait(&mut self) -> ExitRecord {
        let keeper = self.keeper.as_mut().unwrap();
        let status = until("the keeper's end", || keeper.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
        self.dir.read_exit().unwrap().unwrap_or_else(|| panic!("no exit record: {}", self.log()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.log()).unwrap_or_default()
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.order.stdout).unwrap_or_default()).into_owned()
    }

    /// Waits for a file in the work directory that has a whole line; returns the line.
    pub fn line_in(&self, name: &str) -> String {
        until(name, || {
            fs::read_to_string(self.work(name))
                .ok()?
                .split_once('\n')
                .map(|(line, _)| line.to_owned())
        })
    }

    /// Waits until the job runs (its output handle is known).
    pub fn alive(&self) -> KeeperHandle {
        until("the job to be ready", || match KeeperHandle::adopt(&self.dir).unwrap() {
            Adopted::Alive(handle) if handle.start_record().child_pid.is_some() => Some(handle),
            _ => None,
        })
    }

    pub fn private_dirs(&self) -> usize {
        fs::read_dir(self.root.join("scratch")).unwrap().count()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(pcluster_keeper::send(&self.dir, &pcluster_keeper::Command::Kill));
            let deadline =
                Instant::now() + Duration::from_secs(if thread::panicking() { 10 } else { 60 });
            while keeper.try_wait().is_ok_and(|status| status.is_none()) {
                if Instant::now() > deadline {
                    drop(keeper.kill());
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        if let Ok(Some(start)) = self.dir.read_start() {
            while kill_leftovers(&start) > 0 {
                thread::sleep(Duration::from_millis(5));
            }
        }
        drop(pcluster_keeper::remove_tree(&self.root));
    }
}

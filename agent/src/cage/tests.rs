use super::*;

/// A directory that looks like cgroups where it matters, removed at the end.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pc-cage-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn folder(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        path
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const HYBRID: &str = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
    31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
    32 25 0:28 / /sys/fs/cgroup/unified rw shared:11 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn hierarchies_are_found_by_controller_and_not_by_name() {
    let system =
        System { mounts: HYBRID.to_owned(), own: "0::/\n4:memory:/\n1:cpu,cpuacct:/\n".to_owned() };
    assert_eq!(system.v1("cpu").unwrap().last().unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    assert_eq!(system.v1("pids"), None);
    assert_eq!(system.v2().unwrap().last().unwrap(), Path::new("/sys/fs/cgroup/unified"));
}

#[test]
fn our_own_group_comes_before_the_top_and_what_is_not_mounted_is_left_out() {
    let fake = Fake::new("own");
    let own = fake.folder("memory/slice/unit", &[]);
    let point = fake.0.join("memory");
    let mounts = format!("30 25 0:26 /outer {} rw - cgroup cgroup rw,memory\n", point.display());
    let inside = System { mounts: mounts.clone(), own: "4:memory:/outer/slice/unit\n".to_owned() };
    assert_eq!(inside.v1("memory").unwrap(), [own, point.clone()]);
    let outside = System { mounts, own: "4:memory:/elsewhere\n".to_owned() };
    assert_eq!(outside.v1("memory").unwrap(), [point]);
}

#[test]
fn version_2_limits_are_written_as_the_kernel_reads_them() {
    let fake = Fake::new("v2");
    let files = [("memory.max", ""), ("memory.swap.max", ""), ("cpu.max", ""), ("pids.max", "")];
    let dir = fake.folder("run", &files);
    let resources = Resources { cpus: 2, memory_bytes: 1 << 30, gpus: 0, tmp_bytes: 0 };
    limit(&dir, Kind::V2 { memory: true, cpu: true, pids: true }, &resources);
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    assert_eq!(read("memory.max"), "1073741824");
    assert_eq!(read("memory.swap.max"), "0");
    assert_eq!(read("cpu.max"), "200000 100000");
    assert_eq!(read("pids.max"), "5120");
}

#[test]
fn a_controller_is_given_on_only_where_it_is() {
    let fake = Fake::new("enable");
    let files = [("cgroup.controllers", "cpu memory"), ("cgroup.subtree_control", "")];
    let dir = fake.folder("top", &files);
    assert!(enable(&dir, "memory"));
    assert_eq!(fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap(), "+memory");
    assert!(!enable(&dir, "pids"));
    assert!(!enable(&fake.0.join("nowhere"), "memory"));
}

#[test]
fn a_machine_without_control_groups_says_so() {
    let fake = Fake::new("none");
    let dir = NodeDir::open(&fake.0).unwrap();
    let cage = Cage::find(&dir, &System::default(), "node", false).unwrap();
    assert_eq!(cage.words(), "none: no control groups are mounted");
    assert!(cage.make(RunId(1), &Resources::default(), &[]).unwrap().is_empty());
}

#[test]
fn a_plain_directory_is_not_taken_for_a_control_group() {
    let fake = Fake::new("plain");
    let point = fake.folder("memory", &[]);
    let mounts = format!("30 25 0:26 / {} rw - cgroup cgroup rw,memory\n", point.display());
    let dir = NodeDir::open(&fake.0).unwrap();
    let cage = Cage::find(&dir, &System { mounts, own: String::new() }, "node", false).unwrap();
    assert!(cage.branches.is_empty() && !point.join("node").exists());
}

#[test]
fn what_this_machine_has_is_limited_and_removed() {
    let fake = Fake::new("real");
    let dir = NodeDir::open(&fake.0).unwrap();
    let name = format!("pc-test-{}", std::process::id());
    let cage = Cage::find(&dir, &System::read(), &name, true).unwrap();
    // Without rights there is nothing to make: then only the words are there.
    assert!(!cage.words().is_empty());
    let resources = Resources { cpus: 1, memory_bytes: 64 << 20, gpus: 0, tmp_bytes: 0 };
    let made = cage.make(RunId(7), &resources, &[]).unwrap();
    assert_eq!(made.len(), cage.branches.len());
    for (branch, dir) in cage.branches.iter().zip(&made) {
        if branch.kind == Kind::V1Memory {
            let limit = fs::read_to_string(dir.join("memory.limit_in_bytes")).unwrap();
            assert_eq!(limit.trim(), (64 << 20).to_string());
        }
    }
    cage.remove(RunId(7));
    assert!(made.iter().all(|dir| !dir.exists()));
    known_dirs(&dir).iter().for_each(|dir| remove_all(dir));
    assert!(cage.branches.iter().all(|branch| !branch.dir.exists()));
}

#[test]
fn a_freezer_is_one_that_lets_go() {
    let fake = Fake::new("freezer");
    let dir = fake.folder("node", &[("freezer.state", ""), ("cgroup.procs", "")]);
    assert!(usable_v1(&dir, Kind::V1Freezer));
    assert_eq!(fs::read_to_string(dir.join("freezer.state")).unwrap(), "THAWED");
    assert!(!usable_v1(&fake.folder("plain", &[("cgroup.procs", "")]), Kind::V1Freezer));
    let branch = Branch { dir, kind: Kind::V1Freezer };
    let cage = Cage { branches: vec![branch], trouble: String::new() };
    assert_eq!(cage.words(), "cgroup v1: freezer");
}

#[test]
fn devices_of_others_are_denied_by_their_numbers() {
    let fake = Fake::new("devices");
    let files = [("devices.allow", ""), ("devices.deny", ""), ("cgroup.procs", "")];
    let dir = fake.folder("node", &files);
    assert!(usable_v1(&dir, Kind::V1Devices));
    assert_eq!(fs::read_to_string(dir.join("devices.allow")).unwrap(), "c 1:3 rwm");
    deny(&dir, &[PathBuf::from("/dev/zero"), PathBuf::from("/dev/no-such-device")]).unwrap();
    assert_eq!(fs::read_to_string(dir.join("devices.deny")).unwrap(), "c 1:5 rwm");
    assert!(deny(&fake.folder("plain", &[]), &[PathBuf::from("/dev/zero")]).is_err());
    let cage =
        Cage { branches: vec![Branch { dir, kind: Kind::V1Devices }], trouble: String::new() };
    assert!(cage.hides_devices());
    assert_eq!(cage.words(), "cgroup v1: devices");
}

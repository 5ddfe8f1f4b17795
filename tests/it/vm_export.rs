//! A folder of the head on nodes, with the kernel's own server and client: a virtual machine exports by the file that
//! a head writes, and the agent's own mount finds it, once it is there, read, written by a user and closed to
//! root and to addresses that are not in the file. Server and node are one machine with several addresses: a
//! server sees the one that was dialled.
use pcluster_exports::file;
use pcluster_images::{KernelSource, Quiet, find_program};
use pcluster_model::{InstanceRef, LaunchId, NodeId};
use pcluster_tests::inner::Inner;
use pcluster_tests::{PATIENCE, bins, not_run, orders, vms, within};
use pcluster_wire::{JoinOrder, Mount, MountSource};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MEMORY_MB: u32 = 768;
/// Which server modules a kernel for nodes does not load by itself, in this order.
const MODULES: [&str; 2] = ["auth_rpcgss", "nfsd"];

/// Is process 1 of the machine. `/shared` is a part of its disk, as of a head with a volume.
const SECOND: &str = r#"
b=/opt/pcluster/boot/busybox
export PATH=/opt/pcluster/bin:/usr/local/bin:/bin HOME=/root LANG=C.UTF-8 TZ=UTC
end() { echo "INNER: $*"; $b sync; $b sleep 1; $b poweroff -f; }
must() { "$@" || end "failed: $*"; }
$b mkdir -p /dev/pts /run /tmp /root /data /shared /var/lib/nfs/v4recovery /etc/exports.d /sys/fs/cgroup /var/lib/pcluster-agent
$b mount -t tmpfs run /run
$b mount -t tmpfs -o mode=1777 tmp /tmp
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b ln -sfn /proc/self/fd /dev/fd
$b ln -sfn /proc/self/mounts /etc/mtab
$b hostname inner
$b ip link set lo up
$b ip addr add 10.9.0.1/32 dev lo
$b ip addr add 10.9.0.3/32 dev lo
must $b mount -t ext4 /dev/vda /data
$b cp /opt/nfs/order.json /var/lib/pcluster-agent/join.json
pcluster-agent run /var/lib/pcluster-agent >/tmp/agent 2>&1 &
wait_for() {
  what=$1; shift
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    if [ $tries -ge 300 ]; then $b cat /tmp/agent; end "no $what"; fi
    $b sleep 0.2
  done
}
# Nobody serves it yet.
wait_for "word of the agent" $b grep -q "/seen is not mounted" /tmp/agent
for module in auth_rpcgss nfsd; do must $b insmod /opt/nfs/$module.ko; done
must $b mount -t nfsd nfsd /proc/fs/nfsd
: >/etc/exports; : >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab
must exportfs -r
must rpc.mountd -N 2 -N 3
must rpc.nfsd -N 3 -p 2049 -G 10 -L 10 2
# It serves, and not to this node.
wait_for "refusal" $b grep -q "/seen is not mounted: .* is not exported to this machine" /tmp/agent
echo "INNER: refused before it is in the file"
must $b cp /opt/nfs/pcluster-00ff.exports /etc/exports.d/
must exportfs -r
# The volume comes after the server: what lies below is seen by nobody.
$b sleep 3
$b grep -q " /seen nfs4 " /proc/mounts && end "a folder without its volume is let out"
must $b mount --bind /data/volume /shared
must exportfs -r
wait_for "mount" $b grep -q " /seen nfs4 " /proc/mounts
echo "INNER: $($b grep ' /seen ' /proc/mounts)"
echo "INNER: read $($b cat /seen/from-the-head)"
/usr/local/bin/setpriv --reuid 1000 --regid 1000 --clear-groups $b sh -c 'echo by a user >/seen/open/written' || end "a user cannot write"
echo "INNER: owner $($b stat -c %u:%g /data/volume/open/written) $($b cat /data/volume/open/written)"
if (echo no >/seen/by-root) 2>/tmp/why; then end "root of a node is root on the head"; fi
echo "INNER: root $($b cat /tmp/why)"
echo "INNER: below $($b cat '/seen/my data/below')"
$b grep -q " /refused " /proc/mounts && end "an address that is not in the file is let in"
wait_for "refusal" $b grep -q "/refused is not mounted: 10.9.0.3:/shared is not exported to this machine" /tmp/agent
echo "INNER: refused from another address"
# Its node is gone.
$b rm /etc/exports.d/pcluster-00ff.exports
must exportfs -r
if $b ls /seen/open >/dev/null 2>&1; then end "who left the file is still let in"; fi
echo "INNER: gone"
end "done"
"#;

/// The machine, or what this one lacks for it.
fn inner() -> Result<Inner, String> {
    let mut inner = Inner::new("export");
    fs::create_dir_all(inner.folder.join("disk/volume/open")).unwrap();
    fs::create_dir_all(inner.folder.join("disk/volume/my data")).unwrap();
    inner.put("disk/volume/from-the-head", "what the head wrote\n");
    inner.put("disk/volume/my data/below", "a folder below\n");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]);
    let made = make.arg(inner.folder.join("disk")).arg(inner.disk()).arg("64M").output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    let open = "set_inode_field /volume/open mode 041777";
    let mut change = Command::new("debugfs");
    let changed = change.args(["-w", "-R", open]).arg(inner.disk()).output().unwrap();
    assert!(changed.status.success(), "{changed:?}");
    build(&mut inner)?;
    Ok(inner)
}

/// What a head would write for one node.
fn exports() -> String {
    let nodes = BTreeMap::from([(InstanceRef::from("i-0a"), "10.9.0.1".parse().unwrap())]);
    let shared = BTreeSet::from(["/shared".to_owned()]);
    file::text("00ff", &shared, &shared, &nodes)
}

/// What it would tell that node, and one that looks like another.
fn order() -> String {
    let mount = |path: &str, host: &str| Mount {
        path: path.into(),
        from: MountSource::Nfs { source: format!("{host}:/shared") },
    };
    let join = JoinOrder {
        instance: InstanceRef::from("i-0a"),
        mounts: vec![mount("/seen", "10.9.0.1"), mount("/refused", "10.9.0.3")],
        ..orders::join("00ff", NodeId { launch: LaunchId(1), index: 0 })
    };
    serde_json::to_string(&join).unwrap()
}

fn build(inner: &mut Inner) -> Result<(), String> {
    // The kernel that images have is there once one is made.
    let minimal = pcluster_images::minimal(&inner.store, &KernelSource::Found, &Quiet).unwrap();
    let mut files: Vec<(String, PathBuf)> = vec![
        ("/opt/nfs/pcluster-00ff.exports".into(), inner.put("exports", &exports())),
        ("/opt/nfs/order.json".into(), inner.put("order.json", &order())),
    ];
    for name in MODULES {
        let found = module(inner.store.root(), &minimal.manifest.kernel, name);
        let found = found.ok_or(format!("kernel {} has no {name}", minimal.manifest.kernel))?;
        files.push((format!("/opt/nfs/{name}.ko"), found));
    }
    let netconfig = PathBuf::from("/etc/netconfig");
    files.extend(netconfig.exists().then(|| ("/etc/netconfig".into(), netconfig)));
    let mut programs = vec![];
    for name in ["pcluster-agent", "pcluster-keeper", "pcluster"] {
        programs.push((format!("/opt/pcluster/bin/{name}"), bins::folder().join(name)));
    }
    for name in ["exportfs", "rpc.mountd", "rpc.nfsd", "setpriv"] {
        let program = find_program(name).ok_or(format!("there is no {name}"))?;
        programs.push((format!("/usr/local/bin/{name}"), program));
    }
    inner.build(SECOND, files, programs);
    Ok(())
}

/// A module of the kernel that images have, unpacked where it is not.
fn module(store: &Path, release: &str, name: &str) -> Option<PathBuf> {
    let kernels = fs::read_dir(store.join(".kernels")).ok()?.flatten();
    let mut open: Vec<PathBuf> =
        kernels.map(|entry| entry.path().join("lib/modules").join(release)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|file| *file == *format!("{name}.ko")) {
                return Some(path);
            }
        }
    }
    None
}

#[test]
fn the_kernel_serves_a_folder_by_the_heads_file_and_an_agent_mounts_it() {
    let Some(_turn) = vms::turn() else { return };
    for program in ["exportfs", "rpc.mountd", "rpc.nfsd", "setpriv", "mke2fs", "debugfs"] {
        if find_program(program).is_none() {
            return not_run(&format!("exports by the kernel: there is no {program}"));
        }
    }
    let inner = match inner() {
        Ok(inner) => inner,
        Err(lack) => return not_run(&format!("exports by the kernel: {lack}")),
    };
    let machine = inner.boot(MEMORY_MB, "console.log");
    within(PATIENCE * 8, || machine.has_ended().then_some(()))
        .unwrap_or_else(|| panic!("{}", machine.console()));
    let console = machine.console();
    let said: Vec<&str> =
        console.lines().filter_map(|line| line.trim().strip_prefix("INNER: ")).collect();
    assert_eq!(said.last(), Some(&"done"), "{console}");
    let has =
        |words: &str| assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:#?}");
    for words in [
        "refused before it is in the file",
        "10.9.0.1:/shared /seen nfs4 rw,nosuid,nodev",
        "vers=4.1,",
        "hard",
        "read what the head wrote",
        "owner 1000:1000 by a user",
        "Permission denied",
        "below a folder below",
        "refused from another address",
        "gone",
    ] {
        has(words);
    }
}

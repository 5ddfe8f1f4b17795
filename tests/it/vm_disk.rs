//! A disk that boots by itself as a node: firmware, a boot loader, a kernel, and an agent that looks for its
//! order. It is made with the tools of this machine, without a mount.
use crate::vm::{cold, wait};
use pcluster_images::{KernelSource, Programs, Quiet, Store};
use pcluster_tests::{bins, not_run, until, vms};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the kernel of such a disk is told, by itself: QEMU's own network always looks like this.
const LINE: &str = "console=ttyS0 loglevel=4 panic=-1 reboot=t pcluster.name=own pcluster.address=10.0.2.15/24 \
                    pcluster.gateway=10.0.2.2 pcluster.dns=10.0.2.3 pcluster.scratch=vdb";

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn tools_are_here() -> bool {
    let tools = ["syslinux", "mcopy", "mkfs.vfat", "qemu-img"];
    let lacks = tools.into_iter().find(|tool| pcluster_images::find_program(tool).is_none());
    if let Some(tool) = lacks {
        not_run(&format!("disks that boot by themselves: there is no {tool}"));
    }
    lacks.is_none()
}

/// A disk of the image `minimal` with the programs of today, as `disk.qcow2` in the folder.
fn make_disk(folder: &Path) {
    let tool = |name: &str| Command::new(pcluster_images::find_program(name).unwrap());
    let store = Store::new(vms::images());
    let image = pcluster_images::minimal(&store, &KernelSource::Found, &Quiet).unwrap();
    let programs = Programs { folder: bins::folder().to_path_buf() };
    let archive = programs.boot_archive(&image).unwrap();
    let config = folder.join("syslinux.cfg");
    let text =
        format!("DEFAULT node\nLABEL node\nKERNEL vmlinuz\nINITRD boot.cpio\nAPPEND {LINE}\n");
    fs::write(&config, text).unwrap();
    let files = [(image.kernel(), "vmlinuz"), (archive, "boot.cpio"), (config, "syslinux.cfg")];
    let bytes: u64 = files.iter().map(|(path, _)| fs::metadata(path).unwrap().len()).sum();
    let disk = folder.join("disk.raw");
    let blocks = (bytes / 1024 + 8192).to_string();
    ran(tool("mkfs.vfat").arg("-C").arg(&disk).arg(blocks));
    for (path, name) in files {
        ran(tool("mcopy").arg("-i").arg(&disk).arg(path).arg(format!("::{name}")));
    }
    ran(tool("syslinux").arg("--install").arg(&disk));
    ran(tool("qemu-img")
        .args(["convert", "-O", "qcow2"])
        .arg(&disk)
        .arg(folder.join("disk.qcow2")));
    fs::remove_file(&disk).unwrap();
}

#[test]
fn a_disk_that_boots_by_itself_is_a_node_and_stays_as_it_was() {
    let Some(_turn) = vms::turn() else { return };
    if !tools_are_here() {
        return;
    }
    let compute = format!("{}, image = \"own\"", vms::small(1));
    let image = "[images.own]\nqcow2 = \"disk.qcow2\"\n";
    let cluster = cold("disk", vms::setup(&compute, "WORK".as_ref(), image));
    make_disk(&cluster.work());
    let disk = cluster.work().join("disk.qcow2");
    let before = fs::read(&disk).unwrap();
    cluster.up();
    let id = cluster.submit(&[], "hostname >host; grep virtiofs /proc/mounts >mounts");
    assert_eq!(wait(&cluster, &id), 0, "{}", cluster.ok(&["node", "log", "compute-1"]).out);
    assert_eq!(cluster.file("host"), "own\n", "its own boot loader said so");
    let (mounts, work) = (cluster.file("mounts"), cluster.work().display().to_string());
    assert!(mounts.contains(&work), "{mounts}");
    cluster.until_no_nodes();
    cluster.down(&[]);
    until("the end of all machines", || cluster.processes().is_empty().then_some(()));
    assert!(before == fs::read(&disk).unwrap(), "the disk was written to");
}

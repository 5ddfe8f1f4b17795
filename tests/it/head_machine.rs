//! What is done on the machine of a placed head: the real scripts with real file systems, and with the words of systemd.
//!
//! A machine is a mount namespace with folders of its own; the volume is a loop device, whose serial number only
//! `lsblk` is told.
use pcluster_tests::{bins, clients, people, repository, skip};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Volume {
    root: PathBuf,
    device: String,
}

impl Volume {
    fn new() -> Option<Self> {
        if !people::is_root() || !clients::have(&["losetup", "mkfs.ext4", "unshare", "blkid"]) {
            skip("a head's volume on a real file system: root with losetup is needed");
            return None;
        }
        let root = std::env::temp_dir().join(format!("pct-volume-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        for folder in ["bin", "shared", "etc", "said"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let disk = root.join("disk");
        fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new("losetup").args(["-f", "--show"]).arg(&disk).output().unwrap();
        let device = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        if !made.status.success() || device.is_empty() {
            drop(fs::remove_dir_all(&root));
            skip("a head's volume on a real file system: there are no loop devices");
            return None;
        }
        bins::program(&root.join("bin/lsblk"), &format!("#!/bin/sh\necho '{device} vol0a1b'\n"));
        Some(Self { root, device })
    }

    /// A new machine: the script of its first boot, what it has then, and `after`.
    fn machine(&self, before: &str, after: &str) -> Output {
        let script = repository().join("crates/bootstrap/src/volume.sh");
        let text = format!(
            "set -eu\nroot='{root}'\nmount -t tmpfs own /var/lib\nmount -t tmpfs own /home\n\
             rm -rf \"$root/etc\"\ncp -a /etc \"$root/etc\"\nmount --bind \"$root/etc\" /etc\n\
             PATH=\"$root/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n\
             put() {{ sh '{script}' vol-0a1b ana /home \"$root/shared\"; }}\n{before}\nput\n{after}\n",
            root = self.root.display(),
            script = script.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &text]);
        command.output().unwrap()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["-d", &self.device]).output());
        drop(fs::remove_dir_all(&self.root));
    }
}

#[track_caller]
fn out(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const ACCOUNT: &str = "useradd -m -u 7500 ana\nmkdir -p /home/ana/.ssh\n\
                       echo 'ssh-ed25519 FIRST' >/home/ana/.ssh/authorized_keys\nchown -R ana: /home/ana\n";

#[test]
fn what_is_on_a_heads_volume_outlives_its_machine() {
    let Some(volume) = Volume::new() else { return };
    // The first machine: a blank disk, a person who comes later, and the same script once more.
    let said = out(volume.machine(
        ACCOUNT,
        "useradd -m -u 7600 ben\necho mine >/home/ben/file\necho shared >\"$root/shared/file\"\n\
         mkdir /var/lib/pcluster/lab\nstat -c %a \"$root/shared\"\nput\nput\ngrep -c pcluster /etc/fstab",
    ));
    assert_eq!(said.lines().next(), Some("1777"), "everybody's: {said}");
    assert_eq!(said.lines().last(), Some("3"), "each line once: {said}");
    // The next: another key, another number for the account, and nobody else.
    let account = ACCOUNT.replace("FIRST", "SECOND").replace("7500", "7501");
    let said = out(volume.machine(
        &account,
        "cat /home/ben/file \"$root/shared/file\" /home/ana/.ssh/authorized_keys\nstat -c '%U %u' /home/ben /home/ana\n\
         ls /var/lib/pcluster\nsu ben -s /bin/sh -c 'id -un'",
    ));
    assert_eq!(
        said,
        "mine\nshared\nssh-ed25519 SECOND\nben 7600\nana 7501\nlab\nlost+found\nshared.d\nben\n"
    );
    // One that holds something else than a file system is left as it is.
    let rubbish = format!(
        "{ACCOUNT}dd if=/dev/zero of={0} bs=1M count=8 status=none\nprintf rubbish | dd of={0} bs=1 seek=9000 status=none",
        volume.device
    );
    let refused = volume.machine(&rubbish, "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is no file system"), "{said}");
    let swap = format!("{ACCOUNT}mkswap -q {}", volume.device);
    let refused = volume.machine(&swap, "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("cannot be mounted"), "{said}");
}

/// Where services are kept by systemd: its words are played by a program that starts what the unit says.
#[test]
fn a_head_is_started_as_a_service_where_there_are_services() {
    if !people::is_root() || !clients::have(&["unshare"]) {
        skip("a head as a service: root is needed");
        return;
    }
    let root = std::env::temp_dir().join(format!("pct-service-{}", std::process::id()));
    drop(fs::remove_dir_all(&root));
    fs::create_dir_all(root.join("bin")).unwrap();
    let systemctl = "#!/bin/sh\necho \"systemctl $*\" >>\"$ROOM/said\"\n\
                     if [ \"$1\" = is-failed ]; then kill -0 \"$(cat \"$ROOM/pid\")\" 2>/dev/null || echo failed; fi\n[ \"$1\" = restart ] || exit 0\n\
                     unit=/etc/systemd/system/$2.service\nsetsid $(sed -n 's/^ExecStart=//p' \"$unit\") >\"$ROOM/log\" 2>&1 &\n\
                     echo $! >\"$ROOM/pid\"\n";
    bins::program(&root.join("bin/systemctl"), systemctl);
    bins::program(&root.join("bin/journalctl"), "#!/bin/sh\ncat \"$ROOM/log\"\n");
    let start = repository().join("crates/bootstrap/src/start.sh");
    let unit = repository().join("headnode/pcluster-headnode.service");
    let run = |file: &str| {
        let text = format!(
            "set -eu\nfor place in /run /opt /var/lib /var/log; do mount -t tmpfs own $place; done\n\
             rm -rf '{root}/etc'\ncp -a /etc '{root}/etc'\nmount --bind '{root}/etc' /etc\n\
             mkdir -p /run/systemd/system /opt/pcluster/bin /etc/pcluster/lab /etc/systemd/system\n\
             for name in {names}; do ln -s {bin}/$name /opt/pcluster/bin/$name; done\n\
             cp '{unit}' /opt/pcluster/bin/\nprintf '{file}' >/etc/pcluster/lab/cluster.toml\n\
             PATH='{root}/bin':/usr/sbin:/usr/bin:/sbin:/bin\nexport ROOM='{root}'\ncode=0\n\
             sh '{start}' lab || code=$?\n[ $code != 0 ] || /opt/pcluster/bin/pcluster -C lab status\n\
             [ ! -s '{root}/pid' ] || kill $(cat '{root}/pid') || true\nexit $code\n",
            root = root.display(),
            names = bins::NAMES.join(" "),
            bin = bins::folder().display(),
            unit = unit.display(),
            start = start.display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &text]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.output().unwrap()
    };
    let said = out(run("provider = \"process\"\n"));
    assert!(said.contains("/etc/pcluster/lab/cluster.toml"), "{said}");
    let asked = fs::read_to_string(root.join("said")).unwrap();
    for word in ["daemon-reload", "enable pcluster-headnode", "restart pcluster-headnode"] {
        assert!(asked.contains(word), "{asked}");
    }
    let unit =
        fs::read_to_string(root.join("etc/systemd/system/pcluster-headnode.service")).unwrap();
    let line = "ExecStart=/opt/pcluster/bin/pcluster-headnode --config /etc/pcluster/lab/cluster.toml --foreground\n";
    assert!(unit.contains(line) && unit.contains("Restart=on-failure"), "{unit}");
    assert!(unit.starts_with("[Unit]\nRequiresMountsFor=/var/lib/pcluster\n"), "{unit}");
    // One that does not come up says why.
    let failed = run("provider = \"nonsense\"\n");
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success(), "{said}");
    assert!(said.contains("nonsense") && said.contains("the head does not come up"), "{said}");
    drop(fs::remove_dir_all(&root));
}

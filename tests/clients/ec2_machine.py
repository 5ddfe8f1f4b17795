"""Computers of the cloud on loopback: what boots when an instance is launched.

A node's is a bubblewrap container that runs the user data. A head's (tag `pcluster:role` = `head`) is what an image is
that people log in to: a whole machine's folders of its own, an SSH server with new host keys, `sudo`, disks.
"""
import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

END_PATIENCE_S = 10
HERE = Path(__file__).resolve().parent
# Names of real programs that look at disks, which here are folders.
DISK_TOOLS = ("lsblk", "blkid", "mkfs.ext4", "mount")


class Machine:
    """An instance's computer: a container that runs the user data, and what its metadata say."""

    def __init__(self, cloud, instance, user_data):
        self.cloud, self.id, self.instance = cloud, instance.id, instance
        self.folder = cloud.folder / instance.id
        self.user_data = user_data
        self.tokens = set()
        self.notice = self.hint = None
        self.process = None
        self.is_hung = False
        self.address = cloud.next_address()

    def metadata(self, path):
        instance = self.instance
        at = lambda moment: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
        known = {
            "meta-data/instance-id": instance.id,
            "meta-data/ami-id": instance.image_id,
            "meta-data/ami-launch-index": str(instance.ami_launch_index),
            "meta-data/instance-type": instance.instance_type,
            "meta-data/local-ipv4": self.address,
            "meta-data/public-ipv4": self.address,
            "meta-data/placement/region": self.cloud.region,
            "meta-data/placement/availability-zone": instance.placement.zone,
            "meta-data/instance-life-cycle": instance.lifecycle or "on-demand",
            "meta-data/spot/instance-action":
                self.notice and json.dumps({"action": "terminate", "time": at(self.notice)}),
            "meta-data/events/recommendations/rebalance": self.hint and json.dumps({"noticeTime": at(self.hint)}),
            "user-data": self.user_data.decode(errors="replace"),
        }
        return known.get(path)

    def boot(self):
        """Runs the user data as an image with cloud-init would."""
        self.folder.mkdir()
        own = {name: self.folder / name for name in ("etc", "bin", "lib")}
        shutil.copytree("/etc", own["etc"], symlinks=True, ignore_dangling_symlinks=True)
        for name in "bin", "lib":
            own[name].mkdir()
        # Whatever asks for the end of the machine ends the container, and nothing outside it.
        for name in "poweroff", "shutdown", "halt", "reboot", "systemctl":
            (own["bin"] / name).write_text("#!/bin/sh\nkill -KILL 1\n")
            (own["bin"] / name).chmod(0o755)
        script = self.write_user_data()
        environment = {
            "PATH": f"{own['bin']}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self.cloud.port}/_imds/{self.id}",
            "HOME": "/root",
        }
        self.start(["bwrap", "--dev-bind", "/", "/", "--bind", own["etc"], "/etc", "--tmpfs", "/run", "--tmpfs", "/opt",
                    "--bind", own["lib"], "/var/lib", "--proc", "/proc", "--unshare-pid", "--unshare-uts",
                    "--hostname", self.id, "--die-with-parent", "--as-pid-1", "--", script], environment)

    def write_user_data(self):
        data = gzip.decompress(self.user_data) if self.user_data[:2] == b"\x1f\x8b" else self.user_data
        script = self.folder / "user-data"
        script.write_bytes(data)
        script.chmod(0o700)
        return script

    def start(self, words, environment):
        with open(self.folder / "console.log", "ab", buffering=0) as console:
            console.write(f"[    0.000000] booting {self.id}, {self.instance.instance_type}\n".encode())
            # A container ends with the thread that started it, and threads of calls end with their connections.
            self.process = self.cloud.starter.submit(
                subprocess.Popen, words, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True).result()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        self.process.wait()
        with self.cloud.lock:
            if not self.is_hung:
                self.cloud.ended(self, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def pid_1(self):
        """Process 1 of the container, as this machine sees it."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            return int(children.split()[0])

    def end(self, gently):
        if not self.process:
            return
        if gently and self.process.poll() is None and (pid := self.pid_1()):
            self.ask_all_to_end(pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_PATIENCE_S)
        # The end of bwrap is the end of its process namespace.
        self.process.kill()
        self.process.wait()
        self.sweep()

    @staticmethod
    def ask_all_to_end(pid):
        """As a shutdown does: a process 1 that is a shell hears no signal."""
        with contextlib.suppress(OSError):
            space = os.readlink(f"/proc/{pid}/ns/pid")
            for name in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{name}/ns/pid") == space:
                        os.kill(int(name), signal.SIGTERM)

    def sweep(self):
        """The control groups of its node, which end with a computer and stay behind a container."""
        tags = {tag["key"]: tag["value"] for tag in self.instance.get_tags()}
        node = f"{tags.get('pcluster:launch')}.{self.instance.ami_launch_index}"
        name = f"pcluster-{tags.get('pcluster:cluster')}-{node}-*"
        until = time.monotonic() + END_PATIENCE_S
        # A group can go when its last process has.
        while (tops := list(Path("/sys/fs/cgroup").rglob(name))) and time.monotonic() < until:
            for top in tops:
                for folder, _, _ in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)
            time.sleep(0.02)

    def console(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "console.log").read_bytes()[-65536:]
        return b""


class HeadMachine(Machine):
    """A machine as an image makes it, with an SSH server of its own at its address.

    Not in bubblewrap, in which no program can become root: `unshare` with the same effect, set up by its process 1
    (ec2_head_boot.sh).
    """

    def __init__(self, cloud, instance, user_data, role):
        super().__init__(cloud, instance, user_data)
        self.role = role
        self.disks = []

    def metadata(self, path):
        at = "meta-data/iam/security-credentials/"
        if path == at:
            return self.role
        if self.role and path == at + self.role:
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
            return json.dumps({"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC",
                               "AccessKeyId": "ASIAOFTHEHEAD", "SecretAccessKey": "a role's", "Token": "of a session",
                               "Expiration": until})
        return super().metadata(path)

    def boot(self):
        self.folder.mkdir()
        for name in "etc", "bin", "lib", "home", "dev":
            (self.folder / name).mkdir()
        bin = self.folder / "bin"
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore_dangling_symlinks=True, dirs_exist_ok=True)
        for name in DISK_TOOLS:
            shutil.copy(HERE / "ec2_disks.sh", bin / name)
        for name in "poweroff", "shutdown", "halt", "reboot", "systemctl":
            shutil.copy(HERE / "ec2_power.sh", bin / name)
        (self.folder / "disks").write_text("")
        path = f"{bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        # What on a real instance needs no word: where the API and the metadata are. No keys: the role has them.
        environment = {
            "PATH": path,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.cloud.port}",
            "AWS_REGION": self.cloud.region,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self.cloud.port}/_imds/{self.id}",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        self.configure(environment)
        self.write_user_data()
        boot = HERE / "ec2_head_boot.sh"
        self.start(["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc",
                    "--kill-child=KILL", "sh", boot, self.folder, self.id], {**environment, "HOME": "/root"})

    def configure(self, environment):
        """Its own /etc, as far as an image's differs from this machine's."""
        etc = self.folder / "etc"
        for key in (etc / "ssh").glob("ssh_host_*"):
            key.unlink()
        words = " ".join(f'"{name}={value}"' for name, value in environment.items())
        (etc / "ssh" / "sshd_config").write_text(
            f"ListenAddress {self.address}:22\nPidFile /run/sshd.pid\nUsePAM no\nPasswordAuthentication no\n"
            f"AllowStreamLocalForwarding yes\nSubsystem sftp internal-sftp\nSetEnv {words}\n")
        with open(etc / "hosts", "a") as hosts:
            hosts.write(f"{self.address} {self.id}\n")
        rules = etc / "sudoers.d" / "00-cloud"
        rules.parent.mkdir(exist_ok=True)
        rules.write_text(f'Defaults env_keep += "AWS_*"\nDefaults secure_path="{environment["PATH"]}"\n')
        rules.chmod(0o440)

    def attach(self, volume, folder):
        """A disk more: a line for the programs that look at disks. Its device is there from the boot on."""
        name = f"/dev/nvme{len(self.disks) + 1}n1"
        self.disks.append(volume)
        with open(self.folder / "disks", "a") as disks:
            disks.write(f"{name} {volume.replace('-', '')} {folder}\n")

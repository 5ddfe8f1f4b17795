//! Scratch of an instance on a disk of its own: the script of the user data in a virtual machine with a blank disk.
use pcluster_images::find_program;
use pcluster_tests::inner::Inner;
use pcluster_tests::{PATIENCE, not_run, vms, within};
use std::fs::File;

const SCRIPT: &str = include_str!("../../crates/providers/src/ec2/scratch.sh");
const GIB: u64 = 1 << 30;

/// Is process 1 of the machine. The script's shell is bash: that of busybox has programs of its own.
const SECOND: &str = r#"
b=/opt/pcluster/boot/busybox
export PATH=/usr/local/bin:/bin HOME=/root LANG=C.UTF-8
export dir=/var/lib/pcluster-agent
off() { echo "INNER: $*"; $b sync; $b sleep 1; $b poweroff -f; }
$b mkdir -p "$dir" /run
: >/etc/fstab
cat >/run/words <<'WORDS'
say() { echo "INNER: $*"; }
end() { echo "INNER: ends: $*"; exit 1; }
WORDS
run() { echo "INNER: $*"; export wait_s=2; /bin/bash -c ". /run/words; $1; . /opt/scratch.sh" || true; }
run 'scratch=volume gib=3'
run 'scratch=store gib=0'
run 'scratch=volume gib=2'
echo "INNER: free $($b stat -f -c '%a %S' "$dir/tmp")"
$b grep " $dir/tmp " /proc/mounts | $b sed 's/^/INNER: /'
echo kept >"$dir/tmp/file"
# The user data of a machine may run twice.
run 'scratch=volume gib=2'
$b umount "$dir/tmp"
run 'scratch=volume gib=2'
$b mount -t ext4 /dev/vda "$dir/tmp"
echo "INNER: still $($b cat "$dir/tmp/file"), $($b grep -c pcluster-scratch /etc/fstab)"
$b umount "$dir/tmp"
# Disks of an instance's own, as its kernel shows them: the system's, a smaller one, and the one.
$b dd if=/dev/zero of=/dev/vda bs=1M count=4 2>/dev/null
$b mount -t tmpfs blocks /sys/block
disk() { $b mkdir -p "/sys/block/$1/device"; echo "$2" >"/sys/block/$1/size"; echo "$3" >"/sys/block/$1/device/model"; $b ln -s /dev/vda "/dev/$1"; }
disk nvme0n1 16777216 "Amazon Elastic Block Store"
$b mkdir /sys/block/nvme0n1/nvme0n1p1
disk nvme1n1 4194304 "Amazon EC2 NVMe Instance Storage"
disk nvme2n1 8388608 "Amazon EC2 NVMe Instance Storage"
disk nvme3n1 4194304 "Amazon Elastic Block Store"
run 'scratch=volume gib=8'
run 'scratch=store gib=0'
$b umount "$dir/tmp"
$b dd if=/dev/zero of=/dev/vda bs=1M count=4 2>/dev/null
run 'scratch=volume gib=2'
off "done"
"#;

fn inner() -> Inner {
    let mut inner = Inner::new("scratch");
    File::create(inner.disk()).unwrap().set_len(2 * GIB).unwrap();
    let files = vec![("/opt/scratch.sh".into(), inner.put("scratch.sh", SCRIPT))];
    let program = |name: &str| (format!("/usr/local/bin/{name}"), find_program(name).unwrap());
    inner.build(SECOND, files, vec![program("mkfs.ext4"), program("blkid")]);
    inner
}

#[test]
fn a_blank_disk_of_the_right_kind_becomes_scratch_and_no_other() {
    let Some(_turn) = vms::turn() else { return };
    for program in ["mkfs.ext4", "blkid"] {
        if find_program(program).is_none() {
            return not_run(&format!("scratch on a disk: there is no {program}"));
        }
    }
    let inner = inner();
    let machine = inner.boot(512, "console.log");
    within(PATIENCE * 6, || machine.has_ended().then_some(()))
        .unwrap_or_else(|| panic!("{}", machine.console()));
    let console = machine.console();
    let said = console.lines().filter_map(|line| line.trim().strip_prefix("INNER: "));
    let (free, said): (Vec<&str>, Vec<&str>) = said.partition(|line| line.starts_with("free "));
    assert_eq!(
        said,
        [
            "scratch=volume gib=3",
            "ends: the volume for scratch is not there",
            "scratch=store gib=0",
            "ends: the store for scratch is not there",
            "scratch=volume gib=2",
            "scratch is on /dev/vda",
            "/dev/vda /var/lib/pcluster-agent/tmp ext4 rw,nosuid,nodev,noatime 0 0",
            "scratch=volume gib=2",
            "scratch=volume gib=2",
            "ends: the volume for scratch is not there",
            "still kept, 1",
            "scratch=volume gib=8",
            "ends: the volume for scratch is not there",
            "scratch=store gib=0",
            "scratch is on /dev/nvme2n1",
            "scratch=volume gib=2",
            "scratch is on /dev/nvme3n1",
            "done",
        ],
        "{console}"
    );
    let numbers: Vec<u64> = free[0].split(' ').filter_map(|word| word.parse().ok()).collect();
    // The most that a pool may ask for and get a volume of this size.
    let asked = (2 * GIB - (32 << 20)) * 60 / 61;
    assert!(numbers[0] * numbers[1] >= asked, "{numbers:?} for {asked}");
}

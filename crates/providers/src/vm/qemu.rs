//! The command line of QEMU.
use super::accel::Accel;
use super::spec::{Boot, Net, Spec};
use pcluster_images::find_program;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The emulator of this machine's own instruction set.
#[cfg(target_arch = "aarch64")]
pub(super) const NAME: &str = "qemu-system-aarch64";
#[cfg(not(target_arch = "aarch64"))]
pub(super) const NAME: &str = "qemu-system-x86_64";
/// Its package in Debian.
#[cfg(target_arch = "aarch64")]
pub(super) const PACKAGE: &str = "qemu-system-arm";
#[cfg(not(target_arch = "aarch64"))]
pub(super) const PACKAGE: &str = "qemu-system-x86";

/// Where the guest finds its join order: `/sys/firmware/qemu_fw_cfg/by_name/NAME/raw`.
const ORDER: &str = "opt/org.pcluster/join";
/// A guest's address in QEMU's own network, in which it is alone.
pub(super) const USER_ADDRESS: &str = "10.0.2.15/24";
/// The head's machine as a guest with a network of its own sees it.
pub const USER_HEAD: &str = "10.0.2.2";
const USER_DNS: &str = "10.0.2.3";

/// QEMU on this machine.
pub(super) fn program() -> Option<PathBuf> {
    find_program(NAME)
}

/// The daemon that shares a folder with a guest; each distribution has its own place for it.
pub(super) fn virtiofsd() -> Option<PathBuf> {
    let places = [
        "/usr/libexec/virtiofsd",
        "/usr/lib/qemu/virtiofsd",
        "/usr/lib/virtiofsd",
        "/usr/bin/virtiofsd",
    ];
    places.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

/// A machine without anything that was not asked for.
pub(super) fn plain_machine(accel: Accel) -> Vec<OsString> {
    let machine = if cfg!(target_arch = "aarch64") { "virt" } else { "pc" };
    let (accel, cpu) = match accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Tcg => ("tcg,thread=multi", "max"),
    };
    let words = [
        "-machine",
        machine,
        "-accel",
        accel,
        "-cpu",
        cpu,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-monitor",
        "none",
        "-no-reboot",
    ];
    words.map(OsString::from).to_vec()
}

/// A value of an option in which a comma would begin the next one.
fn quoted(path: &Path) -> OsString {
    let text = path.as_os_str().to_string_lossy().replace(',', ",,");
    text.into()
}

fn joined(parts: &[&dyn AsRef<std::ffi::OsStr>]) -> OsString {
    let mut whole = OsString::new();
    for part in parts {
        whole.push(part);
    }
    whole
}

/// All words after the program. `sockets` has a socket for each folder, in order.
pub(super) fn words(spec: &Spec, dir: &Path, sockets: &[PathBuf]) -> Vec<OsString> {
    let mut words = plain_machine(spec.accel);
    let mut add = |list: &[OsString]| words.extend_from_slice(list);
    let megabytes = (spec.memory_bytes >> 20).max(64);
    add(&["-name".into(), format!("pcluster-{}", spec.name).into()]);
    add(&[
        "-smp".into(),
        spec.cpus.to_string().into(),
        "-m".into(),
        format!("{megabytes}M").into(),
    ]);
    add(&["-chardev".into(), "stdio,id=console,signal=off".into()]);
    add(&["-serial".into(), "chardev:console".into(), "-device".into(), "virtio-rng-pci".into()]);
    add(&[
        "-fw_cfg".into(),
        joined(&[&"name=", &ORDER, &",file=", &quoted(&dir.join("join.json"))]),
    ]);
    let mut disks = Vec::new();
    match &spec.boot {
        Boot::Image { kernel, archive, disk } => {
            add(&["-kernel".into(), kernel.into(), "-initrd".into(), archive.into()]);
            add(&["-append".into(), kernel_line(spec, disk.is_some()).into()]);
            disks.extend(disk.as_ref().map(|disk| (disk.clone(), "raw,snapshot=on")));
        }
        Boot::Disk { path } => {
            let format = if path.extension().is_some_and(|end| end == "raw" || end == "img") {
                "raw,snapshot=on"
            } else {
                "qcow2,snapshot=on"
            };
            disks.push((path.clone(), format));
        }
    }
    disks.push((dir.join("scratch.img"), "raw,cache=unsafe,discard=unmap"));
    for ((path, how), index) in disks.iter().zip(0..) {
        let drive = joined(&[&format!("if=none,id=disk{index},format={how},file="), &quoted(path)]);
        add(&["-drive".into(), drive]);
        add(&["-device".into(), format!("virtio-blk-pci,drive=disk{index}").into()]);
    }
    let (netdev, mac) = match &spec.net {
        Net::User => ("user,id=net,ipv6=off".to_owned(), String::new()),
        Net::Tap { address, tap, .. } => {
            let [_, b, c, d] = address.octets();
            let mac = format!(",mac=52:54:00:{b:02x}:{c:02x}:{d:02x}");
            (format!("tap,id=net,ifname={tap},script=no,downscript=no"), mac)
        }
    };
    add(&["-netdev".into(), netdev.into()]);
    add(&["-device".into(), format!("virtio-net-pci,netdev=net,romfile={mac}").into()]);
    if !sockets.is_empty() {
        // A daemon reads and writes the guest's memory itself.
        let memory = format!("memory-backend-memfd,id=memory,size={megabytes}M,share=on");
        add(&["-object".into(), memory.into(), "-numa".into(), "node,memdev=memory".into()]);
    }
    for ((folder, socket), index) in spec.folders.iter().zip(sockets).zip(0..) {
        let chardev = joined(&[&format!("socket,id=folder{index},path="), &quoted(socket)]);
        add(&["-chardev".into(), chardev, "-device".into()]);
        add(&[format!("vhost-user-fs-pci,chardev=folder{index},tag={}", folder.tag).into()]);
    }
    words
}

/// What the guest's kernel is told; every process of the guest can read it.
fn kernel_line(spec: &Spec, has_disk: bool) -> String {
    let (address, more) = match &spec.net {
        Net::User => (
            USER_ADDRESS.to_owned(),
            format!("pcluster.gateway={USER_HEAD} pcluster.dns={USER_DNS}"),
        ),
        Net::Tap { bridge, address, .. } => {
            (format!("{address}/{}", bridge.subnet.length()), String::new())
        }
    };
    let disks =
        if has_disk { "pcluster.root=vda pcluster.scratch=vdb" } else { "pcluster.scratch=vda" };
    let console = if cfg!(target_arch = "aarch64") { "ttyAMA0" } else { "ttyS0" };
    format!(
        "console={console} loglevel=4 panic=-1 reboot=t pcluster.name={} pcluster.address={address} {more} {disks}",
        spec.name
    )
}

#[cfg(test)]
mod tests {
    use super::super::net::Bridge;
    use super::super::spec::Folder;
    use super::*;
    use pcluster_model::Subnet;

    fn spec() -> Spec {
        Spec {
            name: "compute-7".into(),
            boot: Boot::Image {
                kernel: "/i/vmlinuz".into(),
                archive: "/i/boot.cpio".into(),
                disk: None,
            },
            accel: Accel::Tcg,
            cpus: 2,
            memory_bytes: 512 << 20,
            scratch_bytes: 1 << 30,
            net: Net::User,
            folders: Vec::new(),
        }
    }

    fn line(spec: &Spec, sockets: &[PathBuf]) -> String {
        let words = words(spec, Path::new("/n/v-7.0"), sockets);
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_join_order_is_a_file_and_no_word() {
        let line = line(&spec(), &[]);
        assert!(
            line.contains("-fw_cfg name=opt/org.pcluster/join,file=/n/v-7.0/join.json"),
            "{line}"
        );
        assert!(
            line.contains("pcluster.scratch=vda") && line.contains("-netdev user,id=net"),
            "{line}"
        );
        assert!(!line.contains("memory-backend"), "{line}");
    }

    #[test]
    fn a_folder_of_the_head_has_a_socket_and_shared_memory() {
        let folder = Folder { tag: "s0".into(), path: "/data".into() };
        let line = line(&Spec { folders: vec![folder], ..spec() }, &["/proc/5/fd/3/0".into()]);
        assert!(line.contains("memory-backend-memfd,id=memory,size=512M,share=on"), "{line}");
        assert!(line.contains("socket,id=folder0,path=/proc/5/fd/3/0"), "{line}");
        assert!(line.contains("vhost-user-fs-pci,chardev=folder0,tag=s0"), "{line}");
    }

    #[test]
    fn a_bridged_machine_has_its_own_address_and_a_card_like_no_other() {
        let subnet: Subnet = "10.87.0.0/24".parse().unwrap();
        let bridge = Bridge { name: "pcbr0".into(), subnet, is_ours: true };
        let net = Net::Tap { bridge, address: "10.87.0.12".parse().unwrap(), tap: "pc1".into() };
        let boot = Boot::Image {
            kernel: "/i/vmlinuz".into(),
            archive: "/i/boot.cpio".into(),
            disk: Some("/i, b/root.img".into()),
        };
        let line = line(&Spec { net, boot, ..spec() }, &[]);
        assert!(line.contains("mac=52:54:00:57:00:0c"), "{line}");
        assert!(line.contains("pcluster.address=10.87.0.12/24"), "{line}");
        assert!(
            line.contains("file=/i,, b/root.img") && line.contains("pcluster.root=vda"),
            "{line}"
        );
    }
}

//! The base `debian-12`: a Debian system on a disk of its own, made by debootstrap.
//!
//! Invariant: all that is mounted or started for it is in namespaces of its own, which end with the
//! build. What a base is made of is kept for a week, so that the next image needs only its packages.
use crate::recipe::Recipe;
use crate::step::{ImageError, Steps, find_program, locked};
use crate::store::Draft;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SUITE: &str = "bookworm";
/// Where Debian is fetched from on machines that are no Debian of this suite themselves.
const MIRROR: &str = "http://deb.debian.org/debian";
/// An older base is made anew.
const BASE_FRESH: Duration = Duration::from_secs(7 * 24 * 3600);
/// What a build needs of the disk at least, in bytes.
const ROOM: u64 = 3 << 30;
/// Room on a node's disk beside the image, in bytes; what is not written costs nothing.
const FREE: u64 = 4 << 30;

/// A root file system.
pub(crate) struct Made {
    pub bytes: u64,
    /// Package and version, a line each.
    pub versions: String,
}

/// Says what this machine lacks for such a build.
pub(crate) fn check(root: &Path) -> Result<(), ImageError> {
    if !rustix::process::geteuid().is_root() {
        let words = "an image on base debian-12 is built by root";
        return Err(ImageError::missing(
            words,
            "sudo pcluster image build NAME, or base = \"minimal\"",
        ));
    }
    for (program, package) in [
        ("debootstrap", "debootstrap"),
        ("mke2fs", "e2fsprogs"),
        ("unshare", "util-linux"),
        ("tar", "tar"),
    ] {
        if find_program(program).is_none() {
            let help = format!("apt install {package}");
            return Err(ImageError::missing(format!("there is no {program}"), help));
        }
    }
    let place = root.ancestors().find(|path| path.exists()).unwrap_or(root);
    let free = rustix::fs::statvfs(place).map_or(u64::MAX, |fs| fs.f_bavail * fs.f_frsize);
    if free < ROOM {
        let words =
            format!("{} has {} MB free, a build needs {}", place.display(), free >> 20, ROOM >> 20);
        return Err(ImageError::missing(
            words,
            "pcluster image remove NAME@BUILD frees old builds",
        ));
    }
    Ok(())
}

/// Makes `root.img` in the draft.
pub(crate) fn root(
    recipe: &Recipe,
    store: &Path,
    draft: &Draft,
    steps: &Steps<'_>,
) -> Result<Made, ImageError> {
    let tree = draft.path("tree");
    unpack_base(&store.join(".bases"), &tree, steps)?;
    let net = Net::lend(&tree)?;
    run_in(&tree, steps, "update the base", "apt-get -q update && apt-get -qy dist-upgrade")?;
    if !recipe.packages.is_empty() {
        let words = recipe.packages.join(" ");
        let script = format!("apt-get -qy install --no-install-recommends -- {words}");
        run_in(&tree, steps, &format!("install {words}"), &script)?;
    }
    for (to, from) in recipe.all_files()? {
        put(&tree, &to, &from)?;
    }
    if let Some(setup) = &recipe.setup {
        let inside = tree.join("pcluster-setup");
        let failed = ImageError::io(format!("setup: cannot read {}", setup.display()));
        fs::copy(setup, &inside).map_err(failed)?;
        let run = fs::set_permissions(&inside, fs::Permissions::from_mode(0o755));
        run.map_err(ImageError::io("cannot run the setup script"))?;
        let name = setup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A script without a first line is for sh.
        let script = "read -r first < /pcluster-setup || true; case $first in '#!'*) exec /pcluster-setup;; esac; exec sh -e /pcluster-setup";
        run_in(&tree, steps, &format!("setup {name}"), script)?;
        let _ = fs::remove_file(&inside);
    }
    run_in(
        &tree,
        steps,
        "clean up",
        "apt-get -q clean; rm -rf /var/lib/apt/lists/* /tmp/* /var/tmp/*",
    )?;
    drop(net);
    forget_identity(&tree);
    let mut versions = Command::new("chroot");
    versions.arg(&tree).args(["dpkg-query", "-W"]).env_clear().env("PATH", PATH);
    let versions = steps.ask("list the packages", versions)?;
    let bytes = make_disk(&tree, &draft.path("root.img"), steps)?;
    fs::remove_dir_all(&tree).map_err(ImageError::io("cannot remove the tree"))?;
    Ok(Made { bytes, versions })
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A base in the folder `tree`, from the one that is kept.
fn unpack_base(bases: &Path, tree: &Path, steps: &Steps<'_>) -> Result<(), ImageError> {
    let failed = || ImageError::io(format!("cannot use {}", bases.display()));
    fs::create_dir_all(bases).map_err(failed())?;
    let _alone = locked(&bases.join(".lock")).map_err(failed())?;
    let kept = bases.join(format!("{SUITE}.tar"));
    let age = fs::metadata(&kept).and_then(|meta| meta.modified());
    let fresh = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < BASE_FRESH));
    fs::create_dir_all(tree).map_err(failed())?;
    if fresh {
        let mut unpack = Command::new("tar");
        unpack.arg("-C").arg(tree).arg("--numeric-owner").arg("-xpf").arg(&kept);
        return steps.run("unpack the base", unpack);
    }
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", SUITE]).arg(tree).arg(mirror()).env("PATH", PATH);
    steps.run("debootstrap (some minutes)", command)?;
    // Its own words say why a debootstrap failed; they are of no use in the image.
    let _ = fs::remove_dir_all(tree.join("debootstrap"));
    let draft = bases.join(".new.tar");
    let mut pack = Command::new("tar");
    pack.arg("-C").arg(tree).arg("--numeric-owner").arg("-cpf").arg(&draft).arg(".");
    steps.run("keep the base", pack)?;
    fs::rename(&draft, &kept).map_err(failed())
}

/// The mirror that this machine uses itself, where it is such a Debian.
fn mirror() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let same = release.lines().any(|line| line == "ID=debian")
        && release.lines().any(|line| line == format!("VERSION_CODENAME={SUITE}"));
    let lists = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let files = std::iter::once(PathBuf::from("/etc/apt/sources.list"));
    let mut texts = files
        .chain(lists.map(|entry| entry.path()))
        .filter_map(|path| fs::read_to_string(path).ok());
    let found = texts.find_map(|text| mirror_in(&text));
    found.filter(|_| same).unwrap_or_else(|| MIRROR.to_owned())
}

/// The first archive with the suite in a list of sources, in either of apt's forms.
fn mirror_in(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("deb")).then_some(())?;
        let mut words = words.filter(|word| !word.starts_with('[') && !word.ends_with(']'));
        let address = words.next()?;
        (words.next() == Some(SUITE)).then(|| address.to_owned())
    });
    line.or_else(|| {
        text.split("\n\n").find_map(|stanza| {
            let field = |name: &str| {
                let line = stanza.lines().find(|line| line.starts_with(name))?;
                Some(line[name.len()..].split_whitespace().collect::<Vec<_>>())
            };
            let suites = field("Suites:")?;
            suites.contains(&SUITE).then(|| field("URIs:")?.first().map(|uri| (*uri).to_owned()))?
        })
    })
}

/// Runs a script as root in the tree, with processes and mounts of its own. Services of packages are
/// not started.
fn run_in(tree: &Path, steps: &Steps<'_>, step: &str, script: &str) -> Result<(), ImageError> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    let mut proc = std::ffi::OsString::from("--mount-proc=");
    proc.push(tree.join("proc"));
    command.arg(proc).arg("--").arg("chroot").arg(tree).args(["/bin/sh", "-e", "-c", script]);
    command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C.UTF-8");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    steps.run(step, command)
}

/// This machine's names and a word against starting services, lent to a tree while it is made.
struct Net {
    files: Vec<PathBuf>,
}

impl Net {
    fn lend(tree: &Path) -> Result<Self, ImageError> {
        let policy = tree.join("usr/sbin/policy-rc.d");
        let failed = || ImageError::io("cannot prepare the tree");
        fs::write(&policy, "#!/bin/sh\nexit 101\n").map_err(failed())?;
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755)).map_err(failed())?;
        let mut files = vec![policy];
        for name in ["etc/resolv.conf", "etc/hosts"] {
            let to = tree.join(name);
            let _ = fs::remove_file(&to);
            if fs::copy(Path::new("/").join(name), &to).is_ok() {
                files.push(to);
            }
        }
        Ok(Self { files })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

/// Puts a file into the tree; a link in the way is never followed out of it.
fn put(tree: &Path, to: &str, from: &Path) -> Result<(), ImageError> {
    let mut at = tree.to_path_buf();
    let parts: Vec<&str> = to.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let failed = || ImageError::io(format!("files: cannot put {to}"));
    let Some((name, folders)) = parts.split_last() else { return Ok(()) };
    for part in folders {
        at.push(part);
        match fs::symlink_metadata(&at) {
            // Debian's own links between folders (`/lib`) are relative and stay in the tree.
            Ok(meta) if meta.is_symlink() => {
                let link = fs::read_link(&at).map_err(failed())?;
                if link.is_absolute() || link.iter().any(|part| part == "..") {
                    let words = format!("files: {to} goes through the link {}", at.display());
                    return Err(ImageError::Wrong(words));
                }
                at.pop();
                at.push(link);
            }
            Ok(_) => {}
            Err(_) => fs::create_dir(&at).map_err(failed())?,
        }
    }
    at.push(name);
    let _ = fs::remove_file(&at);
    fs::copy(from, &at).map_err(failed())?;
    let mode = fs::metadata(from).map_err(failed())?.permissions().mode() & 0o777;
    fs::set_permissions(&at, fs::Permissions::from_mode(mode)).map_err(failed())
}

/// What each node must have of its own.
fn forget_identity(tree: &Path) {
    for name in ["etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf"] {
        let _ = fs::remove_file(tree.join(name));
    }
    for entry in fs::read_dir(tree.join("etc/ssh")).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"ssh_host_") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// An ext4 file system with what is in the tree, and room beside it. Without a journal: what a node
/// writes there goes with the node.
fn make_disk(tree: &Path, image: &Path, steps: &Steps<'_>) -> Result<u64, ImageError> {
    let used = used_bytes(tree);
    let bytes = (used + used / 4 + FREE).next_multiple_of(1 << 20);
    let failed = || ImageError::io(format!("cannot make {}", image.display()));
    fs::File::create(image).and_then(|file| file.set_len(bytes)).map_err(failed())?;
    let mut make = Command::new("mke2fs");
    make.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-m",
        "0",
        "-L",
        "pcluster-root",
        "-d",
    ]);
    make.arg(tree).arg(image).env("PATH", PATH);
    steps.run("make the disk", make)?;
    Ok(bytes)
}

fn used_bytes(tree: &Path) -> u64 {
    let mut open = vec![tree.to_path_buf()];
    let mut bytes = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            // A file system needs a block and an inode for the smallest of them.
            bytes += meta.blocks() * 512 + 4096;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_forms_of_lists() {
        let old = "# deb http://no.example bookworm main\ndeb [arch=amd64] http://a.example/debian bookworm main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("http://a.example/debian"));
        let new = "Types: deb\nURIs: http://b.example/debian\nSuites: bookworm bookworm-updates\n\nTypes: deb\nURIs: http://c.example\nSuites: bookworm-security\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://b.example/debian"));
        assert_eq!(mirror_in("deb http://a.example/debian trixie main\n"), None);
    }

    #[test]
    fn files_are_put_through_links_of_the_tree_and_not_out_of_it() {
        let tree = std::env::temp_dir().join(format!("pci-put-{}", std::process::id()));
        fs::create_dir_all(tree.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", tree.join("lib")).unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("out")).unwrap();
        let from = tree.join("from");
        fs::write(&from, "x").unwrap();
        put(&tree, "/lib/deep/file", &from).unwrap();
        assert_eq!(fs::read_to_string(tree.join("usr/lib/deep/file")).unwrap(), "x");
        assert!(put(&tree, "/out/file", &from).unwrap_err().to_string().contains("link"));
        fs::remove_dir_all(&tree).unwrap();
    }
}

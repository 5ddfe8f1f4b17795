//! Where the hierarchies of this machine are mounted, and where in them this process is.
use std::fs;
use std::path::{Path, PathBuf};

/// `/proc/self/mountinfo` and `/proc/self/cgroup`, as texts: what is made of them is pure.
#[derive(Debug, Clone, Default)]
pub struct System {
    pub mounts: String,
    pub own: String,
}

struct Mount {
    root: PathBuf,
    point: PathBuf,
    kind: String,
    options: String,
}

impl System {
    /// This machine. What cannot be read is not there.
    pub fn read() -> Self {
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
            own: fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        }
    }

    /// Parents to try in the hierarchy of a version 1 controller: our own group first, so that the
    /// limits of the container we may be in stay ours, then the top.
    pub fn v1(&self, controller: &str) -> Option<Vec<PathBuf>> {
        let has = |list: &str| list.split(',').any(|word| word == controller);
        let mount = self.mounts().find(|mount| mount.kind == "cgroup" && has(&mount.options))?;
        let own = self.own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (list, path) = rest.split_once(':')?;
            has(list).then_some(path)
        });
        Some(parents(&mount, own))
    }

    /// The same for the one hierarchy of version 2.
    pub fn v2(&self) -> Option<Vec<PathBuf>> {
        let mount = self.mounts().find(|mount| mount.kind == "cgroup2")?;
        let own = self.own.lines().find_map(|line| line.strip_prefix("0::"));
        Some(parents(&mount, own))
    }

    /// Fields: id, parent, device, root, mount point, options, any number of tags, `-`, type,
    /// source, options of the file system.
    fn mounts(&self) -> impl Iterator<Item = Mount> + '_ {
        self.mounts.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, point) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            Some(Mount {
                root: unescaped(root),
                point: unescaped(point),
                kind: right.next()?.to_owned(),
                options: right.nth(1).unwrap_or_default().to_owned(),
            })
        })
    }
}

/// The kernel writes a space as `\040`.
fn unescaped(path: &str) -> PathBuf {
    PathBuf::from(path.replace("\\040", " "))
}

fn parents(mount: &Mount, own: Option<&str>) -> Vec<PathBuf> {
    // A container may show only a part of the tree: what lies above is not mounted.
    let below = own.and_then(|own| Path::new(own).strip_prefix(&mount.root).ok());
    let mut parents: Vec<PathBuf> =
        below.map(|below| mount.point.join(below)).into_iter().collect();
    parents.retain(|path| path.is_dir() && *path != mount.point.join(""));
    parents.push(mount.point.clone());
    parents.dedup_by(|a, b| a.as_os_str().len() == b.as_os_str().len() && a == b);
    parents
}

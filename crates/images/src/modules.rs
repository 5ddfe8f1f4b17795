//! Modules of a kernel: which ones others need, read from the modules themselves.
use crate::step::ImageError;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct Modules {
    by_name: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
}

/// A module ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// In names of modules `-` and `_` are the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// `virtio_net` for `virtio_net.ko.xz`.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, end) = file.split_once(".ko")?;
    matches!(end, "" | ".xz" | ".zst" | ".gz").then(|| plain(name))
}

impl Modules {
    /// Those below `/lib/modules/RELEASE`.
    pub fn below(folder: &Path) -> Self {
        let mut by_name = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() => {
                        by_name.extend(name_of(&path).map(|name| (name, path)));
                    }
                    _ => {}
                }
            }
        }
        let text = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let built_in = text.lines().filter_map(|line| name_of(Path::new(line))).collect();
        Self { by_name, built_in }
    }

    pub fn has(&self, name: &str) -> bool {
        let name = plain(name);
        self.by_name.contains_key(&name) || self.built_in.contains(&name)
    }

    /// The modules of these names that are files, each after those that it needs.
    pub fn with_needs(&self, names: &[&str]) -> Result<Vec<Module>, ImageError> {
        let mut ordered = Vec::new();
        for name in names {
            self.add(&plain(name), &mut ordered)?;
        }
        Ok(ordered)
    }

    fn add(&self, name: &str, ordered: &mut Vec<Module>) -> Result<(), ImageError> {
        if ordered.iter().any(|known| known.name == name) {
            return Ok(());
        }
        // What is no file is built in, or not of this kernel: loading says which.
        let Some(path) = self.by_name.get(name) else { return Ok(()) };
        let bytes = content(path)?;
        for need in needs(&bytes) {
            self.add(&plain(&need), ordered)?;
        }
        ordered.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// What a module says in its section `.modinfo`: `depends=a,b`.
fn needs(bytes: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = bytes.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let rest = &bytes[at + KEY.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let list = String::from_utf8_lossy(&rest[..end]);
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A module without its compression.
fn content(path: &Path) -> Result<Vec<u8>, ImageError> {
    let failed = || ImageError::io(format!("cannot read {}", path.display()));
    let unpacker = match path.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).map_err(failed()),
    };
    let output = Command::new(unpacker).arg("-dc").arg(path).output().map_err(failed())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ImageError::Wrong(format!("{unpacker} cannot read {}: {why}", path.display())));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(needs: &str) -> Vec<u8> {
        format!("ELF\0license=GPL\0depends={needs}\0name=x\0").into_bytes()
    }

    #[test]
    fn modules_come_after_what_they_need_and_each_once() {
        let folder = std::env::temp_dir().join(format!("pci-modules-{}", std::process::id()));
        fs::create_dir_all(folder.join("kernel/net")).unwrap();
        for (path, needed) in [
            ("kernel/net/virtio_net.ko", "net-failover,virtio"),
            ("kernel/net_failover.ko", "failover"),
            ("kernel/failover.ko", ""),
            ("kernel/virtio.ko", ""),
        ] {
            fs::write(folder.join(path), module(needed)).unwrap();
        }
        fs::write(folder.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        let modules = Modules::below(&folder);
        assert!(modules.has("virtio-net") && modules.has("ext4") && !modules.has("nfs"));
        let ordered = modules.with_needs(&["virtio_net", "ext4", "virtio"]).unwrap();
        let names: Vec<&str> = ordered.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["failover", "net_failover", "virtio", "virtio_net"]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_module_that_says_nothing_needs_nothing() {
        assert!(needs(b"ELF").is_empty() && needs(&module("")).is_empty());
        assert_eq!(needs(&module("a,b")), ["a", "b"]);
    }
}

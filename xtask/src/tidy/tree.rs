//! The files of the tree, as text.
//!
//! Deliberately absent: git. A tree that was unpacked from an archive is checked the same way.
use anyhow::Context;
use std::path::Path;

/// Folders that hold no text of ours. Names with a dot in front are skipped as well, but for two.
const SKIPPED: [&str; 1] = ["target"];
const DOTTED: [&str; 2] = [".cargo", ".ci"];
/// Larger files are data.
const MOST_BYTES: u64 = 1 << 20;

/// A text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ext| ext == "rs")
    }

    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// A file that holds nothing but tests and what they need.
    pub(crate) fn is_test(&self) -> bool {
        self.is_rust()
            && (self.name() == "tests.rs" || self.path.split('/').any(|part| part == "tests"))
    }
}

/// Every text file below `root`, in order of path.
///
/// # Errors
/// When a folder or file cannot be read.
pub(crate) fn read(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (kind, path) = (entry.file_type()?, entry.path());
            let hidden = name.starts_with('.') && !DOTTED.contains(&name.as_str());
            if kind.is_dir() && !hidden && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file() && !hidden && entry.metadata()?.len() <= MOST_BYTES {
                let bytes =
                    std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                let relative = path.strip_prefix(root)?.to_string_lossy().into_owned();
                if let Ok(text) = String::from_utf8(bytes) {
                    files.push(File { path: relative, text });
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> File {
        File { path: path.into(), text: String::new() }
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        assert!(file("crates/a/src/b/tests.rs").is_test());
        assert!(file("crates/a/tests/it/main.rs").is_test());
        assert!(file("tests/src/lib.rs").is_test());
        assert!(!file("crates/a/src/contests.rs").is_test());
        assert!(!file("tests/README.md").is_test());
    }

    #[test]
    fn the_own_folder_is_read() {
        let files = read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(files.iter().any(|file| file.path == "src/tidy/tree.rs" && file.is_rust()));
    }
}

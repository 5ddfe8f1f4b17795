//! A package of Debian's, fetched with apt and unpacked into a folder: nothing is installed.
use crate::step::{ImageError, Steps, find_program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// True where packages can be fetched.
pub(crate) fn can_fetch() -> bool {
    find_program("apt-get").is_some() && find_program("dpkg-deb").is_some()
}

/// Puts what `package` holds into `cache/package`, whole or not at all. The caller holds the cache's lock.
pub(crate) fn unpacked(
    package: &str,
    cache: &Path,
    steps: &Steps<'_>,
) -> Result<PathBuf, ImageError> {
    let failed = || ImageError::io(format!("cannot use {}", cache.display()));
    let draft = cache.join(".new");
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft).map_err(failed())?;
    let mut download = Command::new("apt-get");
    // As whoever we are: the folder is closed to apt's own user.
    download.args(["-o", "APT::Sandbox::User=root", "download", package]).current_dir(&draft);
    steps.run(&format!("fetch {package}"), download)?;
    let files = fs::read_dir(&draft).map_err(failed())?.flatten();
    let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
    let file = files.map(|entry| entry.path()).find(is_package);
    let file = file.ok_or_else(|| ImageError::Wrong(format!("{package} was not fetched")))?;
    let (tree, to) = (draft.join("tree"), cache.join(package));
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&file).arg(&tree);
    steps.run(&format!("unpack {package}"), unpack)?;
    // One that is there lacks what the caller looked for in it.
    let _ = fs::remove_dir_all(&to);
    fs::rename(&tree, &to).map_err(failed())?;
    fs::remove_dir_all(&draft).map_err(failed())?;
    Ok(to)
}

//! Where images lie: `NAME/BUILD` below one folder.
use crate::recipe::Recipe;
use crate::step::{ImageError, locked};
use pcluster_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Digits of a build's name.
const BUILD_DIGITS: usize = 12;
const DRAFT: &str = ".draft-";

/// `image.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub name: String,
    /// The first digits of a hash of all that is in it.
    pub build: String,
    pub made_at: Timestamp,
    /// Release of its kernel.
    pub kernel: String,
    pub arch: String,
    pub root: Root,
    pub recipe: Recipe,
    /// A hash of what it was made from: another one means that the recipe has changed.
    pub inputs: String,
}

/// Where a machine's root comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// The boot archive is the whole system; it lives in memory.
    Memory,
    /// `root.img`, an ext4 file system of so many bytes.
    Disk { bytes: u64 },
}

/// A whole image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub dir: PathBuf,
    pub manifest: Manifest,
}

impl Image {
    /// Reads the image in a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let file = dir.join("image.json");
        let text = fs::read(&file);
        let text = text.map_err(ImageError::io(format!("cannot read {}", file.display())))?;
        let manifest = serde_json::from_slice(&text);
        let manifest =
            manifest.map_err(|error| ImageError::Wrong(format!("{}: {error}", file.display())))?;
        Ok(Self { dir: dir.to_path_buf(), manifest })
    }

    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The boot archive without the agent.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        self.dir.join("boot.cpio")
    }

    /// The disk of its root, where it has one.
    #[must_use]
    pub fn disk(&self) -> Option<PathBuf> {
        matches!(self.manifest.root, Root::Disk { .. }).then(|| self.dir.join("root.img"))
    }

    /// `genomics@3f2a9c0b1d2e`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.build)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
    }
}

/// The folder of all images of this machine's user.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder; what is in it is for its owner alone.
    pub(crate) fn make(&self) -> Result<(), ImageError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.map_err(ImageError::io(format!("cannot make {}", self.root.display())))
    }

    /// All whole images, by name and then by age, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        let folders = |path: &Path| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let visible =
                entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
            visible.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let builds = folders(&self.root).into_iter().flat_map(|name| folders(&name));
        let mut images: Vec<Image> = builds.filter_map(|dir| Image::open(&dir).ok()).collect();
        images.sort_by(|a, b| {
            let (a, b) = (&a.manifest, &b.manifest);
            a.name.cmp(&b.name).then(b.made_at.cmp(&a.made_at))
        });
        images
    }

    /// The newest build of `NAME`, or for `NAME@BUILD` that build.
    ///
    /// # Errors
    /// When there is none, with what helps.
    pub fn find(&self, full_name: &str) -> Result<Image, ImageError> {
        let (name, build) = match full_name.split_once('@') {
            Some((name, build)) => (name, Some(build)),
            None => (full_name, None),
        };
        let fits = |image: &Image| {
            image.manifest.name == name
                && build.is_none_or(|build| image.manifest.build.starts_with(build))
        };
        let found = self.list().into_iter().find(fits);
        found.ok_or_else(|| {
            let help = format!("pcluster image build {name}");
            let what = if build.is_some() { "there is no build" } else { "there is no image" };
            ImageError::missing(format!("{what} {full_name} in {}", self.root.display()), help)
        })
    }

    /// Removes a build. Machines that run from it keep their open files.
    ///
    /// # Errors
    /// When it is not there or cannot be removed.
    pub fn remove(&self, image: &Image) -> Result<(), ImageError> {
        let failed = || ImageError::io(format!("cannot remove {}", image.dir.display()));
        // Out of its name first: what is half removed is not an image.
        let grave = self.root.join(format!("{DRAFT}removed-{}", image.manifest.build));
        fs::rename(&image.dir, &grave).map_err(failed())?;
        fs::remove_dir_all(&grave).map_err(failed())?;
        if let Some(name) = image.dir.parent() {
            // The last build's folder goes with it.
            let _ = fs::remove_dir(name);
        }
        Ok(())
    }

    /// A new draft. Drafts of dead builds are removed.
    pub(crate) fn draft(&self) -> Result<Draft, ImageError> {
        self.make()?;
        let all = locked(&self.root.join(".lock"));
        let _all = all.map_err(ImageError::io("cannot lock the images"))?;
        self.sweep();
        let dir = self.root.join(format!("{DRAFT}{}", std::process::id()));
        let failed = || ImageError::io(format!("cannot make {}", dir.display()));
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed())?;
        let alive = locked(&dir.join(".alive")).map_err(failed())?;
        Ok(Draft { dir, store: self.clone(), _alive: alive })
    }

    fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if !entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) {
                continue;
            }
            let alive = File::open(entry.path().join(".alive"));
            if alive.is_ok_and(|alive| alive.try_lock().is_err()) {
                continue;
            }
            // What cannot be removed now is tried again by the next build.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// An image in the making; dropped, it is gone.
pub(crate) struct Draft {
    dir: PathBuf,
    store: Store,
    _alive: File,
}

impl Draft {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes it an image, under a name made of `content`, a hash of what is in it.
    pub fn publish(self, mut manifest: Manifest, content: &str) -> Result<Image, ImageError> {
        manifest.build = content.chars().take(BUILD_DIGITS).collect();
        let name = self.store.root.join(&manifest.name);
        let failed = || ImageError::io(format!("cannot publish {}", name.display()));
        let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let json = json.map_err(failed())?;
        for file in ["vmlinuz", "boot.cpio", "root.img"] {
            let path = self.dir.join(file);
            if path.exists() {
                File::open(&path).and_then(|file| file.sync_all()).map_err(failed())?;
            }
        }
        fs::write(self.dir.join("image.json"), json).map_err(failed())?;
        File::open(self.dir.join("image.json"))
            .and_then(|file| file.sync_all())
            .map_err(failed())?;
        DirBuilder::new().recursive(true).mode(0o700).create(&name).map_err(failed())?;
        let dir = name.join(&manifest.build);
        match fs::rename(&self.dir, &dir) {
            Ok(()) => {
                // The lock of a maker is of no more use.
                let _ = fs::remove_file(dir.join(".alive"));
                File::open(&name).and_then(|name| name.sync_all()).map_err(failed())?;
            }
            // The same content was built before: that build is the newest now.
            Err(_) if dir.join("image.json").exists() => {
                fs::rename(self.dir.join("image.json"), dir.join("image.json")).map_err(failed())?;
            }
            Err(error) => return Err(failed()(error)),
        }
        Ok(Image { dir, manifest })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a publication nothing is there any more.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_making_is_no_image_and_goes_with_its_maker() {
        let root = std::env::temp_dir().join(format!("pci-store-{}", std::process::id()));
        let store = Store::new(&root);
        let left = || {
            fs::read_dir(&root).unwrap().filter(|entry| {
                entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes())
            })
        };
        let draft = store.draft().unwrap();
        fs::write(draft.path("image.json"), "{}").unwrap();
        assert_eq!(store.list(), []);
        drop(draft);
        assert_eq!(left().count(), 0, "a build that fails leaves nothing");
        // One whose maker was killed, and one that is still at it.
        for name in ["dead", "alive"] {
            fs::create_dir_all(root.join(format!("{DRAFT}{name}/tree"))).unwrap();
        }
        let alive = locked(&root.join(format!("{DRAFT}alive/.alive"))).unwrap();
        fs::write(root.join(format!("{DRAFT}dead/.alive")), "").unwrap();
        assert_eq!(store.list(), []);
        drop(store.draft().unwrap());
        let names: Vec<_> = left().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [format!("{DRAFT}alive").as_str()]);
        drop(alive);
        fs::remove_dir_all(&root).unwrap();
    }
}

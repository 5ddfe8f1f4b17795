//! A virtual machine of a test's own making: an image with what the test puts into it, one disk, and their folder.
//!
//! Invariant: folder and image go with the value. Deliberately absent: what the machine does (its process 1, which
//! is the test's).
use crate::vms::{self, Machine};
use pcluster_images::{Image, KernelSource, Quiet, Recipe, Store};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything of one machine.
#[derive(Debug)]
pub struct Inner {
    pub folder: PathBuf,
    pub store: Store,
    label: &'static str,
    image: Option<Image>,
}

impl Inner {
    /// A folder, and nothing in it.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn new(label: &'static str) -> Self {
        let folder = std::env::temp_dir().join(format!("pct-{label}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        Self { folder, store: Store::new(vms::images()), label, image: None }
    }

    /// Writes a file of the folder.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("the folder is ours");
        path
    }

    /// The machine's disk, which the test makes.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Builds the image: `second` is process 1, `files` and `programs` come under their paths there, programs with
    /// the libraries that they need.
    ///
    /// # Panics
    /// When it cannot be built.
    pub fn build(
        &mut self,
        second: &str,
        mut files: Vec<(String, PathBuf)>,
        programs: Vec<(String, PathBuf)>,
    ) -> &Image {
        files.push(("/opt/pcluster/boot/second".into(), self.put("second", second)));
        let mut libraries = BTreeSet::new();
        for (to, program) in programs {
            libraries.extend(vms::libraries_of(&program));
            files.push((to, self.slim(program)));
        }
        files.extend(libraries.into_iter().map(|path| (path.display().to_string(), path)));
        let recipe = Recipe { files, ..Recipe::of_base("minimal") };
        let name = format!("inner-{}-{}", self.label, std::process::id());
        let kernel = KernelSource::Found;
        let built = pcluster_images::build(&self.store, &name, &recipe, &kernel, true, &Quiet);
        self.image.insert(built.unwrap_or_else(|error| panic!("{error}")).image)
    }

    /// It lies in memory, and nobody debugs it there.
    fn slim(&self, program: PathBuf) -> PathBuf {
        let slim = self.folder.join(program.file_name().unwrap_or_default());
        let mut strip = Command::new("strip");
        let done = strip.arg("-o").arg(&slim).arg(&program).status();
        if done.is_ok_and(|done| done.success()) { slim } else { program }
    }

    /// Starts the machine; what it says goes to the file `console` of the folder.
    ///
    /// # Panics
    /// Before the image is built, and without QEMU.
    #[must_use]
    pub fn boot(&self, megabytes: u32, console: &str) -> Machine {
        let image = self.image.as_ref().expect("it is built");
        let console: &Path = &self.folder.join(console);
        Machine::boot(&image.kernel(), &image.archive(), &self.disk(), megabytes, console)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(image) = &self.image {
            let _ = self.store.remove(image);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

//! What an image is made from, and the hash of it.
use crate::step::ImageError;
use pcluster_model::BlobHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::PathBuf;

/// The bases that images begin with.
const BASES: [&str; 2] = ["minimal", "debian-12"];

/// `[images.NAME]` with a `base`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recipe {
    /// `minimal` or `debian-12`.
    pub base: String,
    #[serde(default)]
    pub packages: Vec<String>,
    /// Path on the node, and the file or folder of this machine that is put there.
    #[serde(default)]
    pub files: Vec<(String, PathBuf)>,
    /// A script that is run as root in the image.
    #[serde(default)]
    pub setup: Option<PathBuf>,
}

impl Recipe {
    /// A base and nothing else.
    #[must_use]
    pub fn of_base(base: &str) -> Self {
        Self { base: base.to_owned(), ..Self::default() }
    }

    /// Refuses what could not be built.
    ///
    /// # Errors
    /// In words that name the key.
    pub fn check(&self) -> Result<(), ImageError> {
        let wrong = |words: String| Err(ImageError::Wrong(words));
        if !BASES.contains(&self.base.as_str()) {
            let known = BASES.join(" or ");
            return wrong(format!("base {:?} is not known; it is {known}", self.base));
        }
        if self.base == "minimal" {
            if let Some(package) = self.packages.first() {
                return wrong(format!(
                    "packages: base minimal has no package manager for {package:?}; base = \"debian-12\" has"
                ));
            }
            if self.setup.is_some() {
                return wrong(
                    "setup: base minimal runs no setup script; base = \"debian-12\" does".into(),
                );
            }
        }
        for package in &self.packages {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:=~_".contains(&byte);
            if !package.starts_with(|first: char| first.is_ascii_alphanumeric())
                || !package.bytes().all(letters)
            {
                return wrong(format!("packages: {package:?} is not a name of a package"));
            }
        }
        for (to, from) in &self.files {
            let plain = to.starts_with('/') && !to.split('/').any(|part| part == "..");
            if !plain {
                return wrong(format!("files: {to:?} is not an absolute path on the node"));
            }
            if !from.exists() {
                return wrong(format!("files: there is no {}", from.display()));
            }
        }
        match &self.setup {
            Some(setup) if !setup.is_file() => {
                wrong(format!("setup: there is no file {}", setup.display()))
            }
            _ => Ok(()),
        }
    }

    /// A hash of all that the recipe says, contents of files included.
    pub(crate) fn hash(&self, more: &[&str]) -> Result<String, ImageError> {
        let mut hash = Sha256::new();
        let mut say = |words: &[u8]| {
            hash.update((words.len() as u64).to_le_bytes());
            hash.update(words);
        };
        for words in more {
            say(words.as_bytes());
        }
        say(self.base.as_bytes());
        for package in &self.packages {
            say(package.as_bytes());
        }
        for (to, from) in self.all_files()? {
            say(to.as_bytes());
            let failed = ImageError::io(format!("files: cannot read {}", from.display()));
            say(&fs::read(&from).map_err(failed)?);
        }
        if let Some(setup) = &self.setup {
            let failed = ImageError::io(format!("setup: cannot read {}", setup.display()));
            say(&fs::read(setup).map_err(failed)?);
        }
        Ok(BlobHash(hash.finalize().into()).to_string())
    }

    /// The files, those of folders included, in an order that does not change.
    pub(crate) fn all_files(&self) -> Result<Vec<(String, PathBuf)>, ImageError> {
        let mut found = Vec::new();
        let mut open: Vec<(String, PathBuf)> = self.files.clone();
        while let Some((to, from)) = open.pop() {
            if !from.is_dir() {
                found.push((to, from));
                continue;
            }
            let failed = || ImageError::io(format!("files: cannot read {}", from.display()));
            for entry in fs::read_dir(&from).map_err(failed())? {
                let entry = entry.map_err(failed())?;
                let name = entry.file_name().to_string_lossy().into_owned();
                open.push((format!("{}/{name}", to.trim_end_matches('/')), entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(recipe: &Recipe) -> String {
        recipe.check().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_built_is_refused_by_its_key() {
        let base = |base: &str| Recipe::of_base(base);
        assert!(wrong(&base("arch")).contains("minimal or debian-12"));
        let packages = Recipe { packages: vec!["bwa".into()], ..base("minimal") };
        assert!(wrong(&packages).starts_with("packages: base minimal"));
        let odd = Recipe { packages: vec!["--allow".into()], ..base("debian-12") };
        assert!(wrong(&odd).contains("not a name of a package"));
        let files =
            Recipe { files: vec![("etc/x".into(), "/etc/hosts".into())], ..base("minimal") };
        assert!(wrong(&files).contains("not an absolute path"));
        let setup = Recipe { setup: Some("/nowhere/setup.sh".into()), ..base("debian-12") };
        assert!(wrong(&setup).contains("there is no file /nowhere/setup.sh"));
        base("debian-12").check().unwrap();
    }

    #[test]
    fn the_hash_is_of_contents_and_of_the_order_of_words() {
        let folder = std::env::temp_dir().join(format!("pci-recipe-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "one").unwrap();
        let recipe =
            Recipe { files: vec![("/etc".into(), folder.clone())], ..Recipe::of_base("minimal") };
        let first = recipe.hash(&["kernel"]).unwrap();
        assert_eq!(first, recipe.hash(&["kernel"]).unwrap());
        assert_ne!(first, recipe.hash(&["kernel 2"]).unwrap());
        fs::write(&file, "two").unwrap();
        assert_ne!(first, recipe.hash(&["kernel"]).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}

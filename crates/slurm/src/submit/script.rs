//! The script of `sbatch`: from a file, from stdin, or made of `--wrap`.
//!
//! Invariant: read once; the bytes that are checked are the bytes that are sent. What Slurm refuses
//! is refused in its words, with the mending command. Deliberately absent: options in it
//! (`directives`).
use super::spec::failed;
use crate::refusal::Refusal;
use pcluster_api::MAX_SCRIPT_BYTES;
use pcluster_client::submit::script::quoted;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const COMMAND: &str = "sbatch";

/// A script that could run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// The job's name where no other is said.
    pub name: String,
    /// Absolute path, for people; empty when it was no file.
    pub path: String,
    /// As it was named, for mending commands.
    shown: String,
}

/// The script that `--wrap` makes.
#[must_use]
pub fn wrapped(command: &str) -> Script {
    let text = format!("#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{command}\n");
    Script {
        bytes: text.into_bytes(),
        name: "wrap".into(),
        path: String::new(),
        shown: String::new(),
    }
}

/// Reads a file, looked for in this directory first and then along `PATH`, as `sbatch` does.
///
/// # Errors
/// Whatever is no script.
pub fn from_file(name: &str) -> Result<Script, Refusal> {
    let path = found(name);
    let unable = |error: &io::Error| {
        let refusal = Refusal::error(COMMAND, format!("Unable to open file {name}"), 1);
        match error.kind() {
            io::ErrorKind::NotFound => near(name).into_iter().fold(refusal, Refusal::hint),
            io::ErrorKind::PermissionDenied => refusal.hint(format!("chmod u+r {}", quoted(name))),
            _ => refusal.hint(error.to_string()),
        }
    };
    let file = File::open(&path).map_err(|error| unable(&error))?;
    if file.metadata().is_ok_and(|seen| seen.is_dir()) {
        return Err(Refusal::error(COMMAND, format!("Unable to open file {name}"), 1)
            .hint("that is a directory; name a script in it"));
    }
    let bytes = limited(file).map_err(|error| unable(&error))?;
    let base = path.file_name().map_or(name.into(), |base| base.to_string_lossy());
    let absolute = std::path::absolute(&path).unwrap_or(path.clone());
    let script = Script {
        bytes,
        name: base.into_owned(),
        path: absolute.to_string_lossy().into_owned(),
        shown: name.to_owned(),
    };
    checked(script)
}

/// Reads stdin to its end.
///
/// # Errors
/// Whatever is no script.
pub fn from_stdin() -> Result<Script, Refusal> {
    let bytes = limited(io::stdin().lock()).map_err(|error| {
        Refusal::error(COMMAND, format!("Unable to read the script from stdin: {error}"), 1)
    })?;
    checked(Script { bytes, name: "sbatch".into(), path: String::new(), shown: String::new() })
}

fn limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" from "just right" without reading /dev/zero.
    from.take(MAX_SCRIPT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn found(name: &str) -> PathBuf {
    let here = PathBuf::from(name);
    if name.contains('/') || here.is_file() {
        return here;
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&folders).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).unwrap_or(here)
}

/// Scripts in the same folder, in one line.
fn near(name: &str) -> Option<String> {
    let folder = Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty());
    let listed = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let mut scripts: Vec<String> = listed
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| [".sh", ".sbatch", ".slurm", ".job"].iter().any(|end| name.ends_with(end)))
        .collect();
    scripts.sort();
    scripts.truncate(5);
    (!scripts.is_empty()).then(|| format!("there is {}", scripts.join(", ")))
}

fn checked(mut script: Script) -> Result<Script, Refusal> {
    // `echo -e '#!/bin/sh\n…' | sbatch` under dash writes the `-e`, too.
    if script.bytes.starts_with(b"-e #!") {
        script.bytes.drain(..3);
    }
    let bytes = &script.bytes;
    let file = if script.shown.is_empty() { "SCRIPT".into() } else { quoted(&script.shown) };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::error(COMMAND, "Batch script is empty!", 1)
            .hint("its first line must be  #!/bin/bash"));
    }
    if bytes.len() > MAX_SCRIPT_BYTES {
        return Err(failed(COMMAND, "Pathname of a file, directory or other parameter too long")
            .hint("a script has at most 4 MB: keep the program in a file that the nodes see"));
    }
    if !bytes.starts_with(b"#!") {
        let hint = if bytes.contains(&0) {
            format!("that is a program:  sbatch --wrap={file}")
        } else {
            format!("sed -i '1i #!/bin/bash' {file}")
        };
        return Err(Refusal::error(
            COMMAND,
            "This does not look like a batch script.  The first",
            1,
        )
        .line("sbatch: error: line must start with #! followed by the path to an interpreter.")
        .line("sbatch: error: For instance: #!/bin/sh")
        .hint(hint));
    }
    if bytes.contains(&0) {
        return Err(Refusal::error(COMMAND, "The Slurm controller does not allow scripts that", 1)
            .line("sbatch: error: contain a NULL character '\\0'.")
            .hint(format!("tr -d '\\000' < {file} > fixed.sh")));
    }
    if bytes.windows(2).any(|pair| pair == b"\r\n") {
        return Err(Refusal::error(COMMAND, "Batch script contains DOS line breaks (\\r\\n)", 1)
            .line("sbatch: error: instead of expected UNIX line breaks (\\n).")
            .hint(format!("sed -i 's/\\r$//' {file}")));
    }
    Ok(script)
}

#[cfg(test)]
pub(super) fn given(text: &str, name: &str) -> Script {
    let path = format!("/usr/{name}");
    Script { bytes: text.as_bytes().to_vec(), name: name.into(), path, shown: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Script, Refusal> {
        let shown = "my job.sh".to_owned();
        checked(Script { bytes: bytes.to_vec(), name: "job".into(), path: String::new(), shown })
    }

    #[test]
    fn what_cannot_run_is_refused_in_slurms_words() {
        insta::assert_snapshot!(read(b"hostname").unwrap_err().text(), @r"
        sbatch: error: This does not look like a batch script.  The first
        sbatch: error: line must start with #! followed by the path to an interpreter.
        sbatch: error: For instance: #!/bin/sh
        hint: sed -i '1i #!/bin/bash' 'my job.sh'
        ");
        insta::assert_snapshot!(read(b"#!/bin/sh\r\necho\r\n").unwrap_err().text(), @r"
        sbatch: error: Batch script contains DOS line breaks (\r\n)
        sbatch: error: instead of expected UNIX line breaks (\n).
        hint: sed -i 's/\r$//' 'my job.sh'
        ");
        assert!(read(b"\n \n").unwrap_err().text().contains("Batch script is empty!"));
        assert!(read(b"#!/bin/sh\n\0").unwrap_err().text().contains("NULL character"));
        assert!(read(b"\x7fELF\0").unwrap_err().text().contains("that is a program"));
    }

    #[test]
    fn the_e_of_echo_is_taken_off() {
        assert_eq!(read(b"-e #!/bin/sh\nls\n").unwrap().bytes, b"#!/bin/sh\nls\n");
    }

    #[test]
    fn a_missing_file_is_named() {
        let refusal = from_file("/nonexistent/nofile.sh").unwrap_err();
        assert_eq!(refusal.lines, ["sbatch: error: Unable to open file /nonexistent/nofile.sh"]);
        assert_eq!(refusal.code, 1);
    }
}

//! The job script: read once at submit, and refused with the mending command if it cannot run.
//!
//! Invariant: the bytes that are checked are the bytes that are sent; the file is not opened again.
use crate::failure::Failure;
use pcluster_api::MAX_SCRIPT_BYTES;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A script that could run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// For the job's name and for messages.
    pub name: String,
}

/// Reads `path`, or stdin for `-`.
///
/// # Errors
/// Missing, unreadable, a folder, empty, too large, binary, without `#!`, or with CRLF line ends.
pub fn read(path: &str) -> Result<Script, Failure> {
    if path == "-" {
        let bytes = limited(io::stdin().lock()).map_err(|error| {
            Failure::refused(format!("cannot read the script from stdin: {error}"))
        })?;
        return checked(bytes, "stdin", "-");
    }
    let refuse = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => near(path)
            .iter()
            .fold(Failure::refused(format!("there is no script {path}")), |failure, near| {
                failure.fact("there is", near)
            })
            .hint("pcluster run -- CMD    runs a command without a script"),
        io::ErrorKind::PermissionDenied => Failure::refused(format!("you may not read {path}"))
            .hint(format!("chmod u+r {}", quoted(path))),
        _ => Failure::refused(format!("cannot read {path}: {error}")),
    };
    let file = File::open(path).map_err(|error| refuse(&error))?;
    if file.metadata().is_ok_and(|seen| seen.is_dir()) {
        return Err(Failure::refused(format!("{path} is a folder, not a script")));
    }
    let bytes = limited(file).map_err(|error| refuse(&error))?;
    let name = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
    checked(bytes, &name, path)
}

/// The script that runs one shell command: `--wrap`.
#[must_use]
pub fn wrapped(command: &str) -> Script {
    Script { bytes: format!("#!/bin/sh\n{command}\n").into_bytes(), name: "wrap".into() }
}

/// The script that becomes its arguments: `run`. The words never pass a shell's reading.
#[must_use]
pub fn running(command: &[String]) -> Script {
    let first = command.first().map_or("run", String::as_str);
    let name = Path::new(first).file_name().map_or(first.into(), |name| name.to_string_lossy());
    Script { bytes: b"#!/bin/sh\nexec \"$@\"\n".to_vec(), name: name.into_owned() }
}

fn limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" from "just right" without reading /dev/zero.
    from.take(MAX_SCRIPT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Scripts in the folder of `path`, in one line.
fn near(path: &str) -> Option<String> {
    let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    let listed = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let mut scripts: Vec<String> = listed
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".sh") || name.ends_with(".sbatch"))
        .collect();
    scripts.sort();
    scripts.truncate(5);
    (!scripts.is_empty()).then(|| scripts.join(", "))
}

/// `text` as one word of a shell.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn checked(bytes: Vec<u8>, name: &str, path: &str) -> Result<Script, Failure> {
    let file = quoted(path);
    if bytes.is_empty() {
        return Err(Failure::refused(format!("the script {name} is empty"))
            .hint("its first line must be  #!/bin/bash"));
    }
    if bytes.len() > MAX_SCRIPT_BYTES {
        return Err(Failure::refused(format!("the script {name} is larger than 4 MB")).hint(
            "keep the program in a file that the nodes see, and start it from a short script",
        ));
    }
    if !bytes.starts_with(b"#!") && bytes.contains(&0) {
        return Err(Failure::refused(format!("{name} is a program, not a script"))
            .hint(format!("pcluster run -- {}", run_word(path))));
    }
    if bytes.contains(&0) {
        return Err(Failure::refused(format!("the script {name} holds zero bytes"))
            .hint(format!("tr -d '\\000' < {file} > fixed.sh")));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or("");
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.ends_with(b"\r") || text.contains("\r\n") {
        return Err(Failure::refused(format!("the script {name} has Windows line ends (CRLF)"))
            .fact("line 1", String::from_utf8_lossy(first))
            .hint(format!("sed -i 's/\\r$//' {file}")));
    }
    if !first.starts_with(b"#!") {
        return Err(Failure::refused(format!("the script {name} does not say what runs it"))
            .fact("line 1", String::from_utf8_lossy(first))
            .fact("needed", "#!/bin/bash  as the first line")
            .hint(format!("sed -i '1i #!/bin/bash' {file}")));
    }
    if first[2..].iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::refused(format!("the first line of {name} names no program"))
            .fact("needed", "#!/bin/bash  as the first line"));
    }
    Ok(Script { bytes, name: name.to_owned() })
}

fn run_word(path: &str) -> String {
    if path.contains('/') { quoted(path) } else { format!("./{}", quoted(path)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        checked(bytes.to_vec(), "job.sh", "my job.sh").unwrap_err().render(80)
    }

    #[test]
    fn a_good_script_is_taken_as_it_is() {
        let script = checked(b"#!/bin/sh\necho\n".to_vec(), "job.sh", "job.sh").unwrap();
        assert_eq!(script.bytes, b"#!/bin/sh\necho\n");
    }

    #[test]
    fn each_refusal_shows_the_mending_command() {
        insta::assert_snapshot!(refused(b""), @r"
        error: the script job.sh is empty
        hint: its first line must be  #!/bin/bash
        ");
        insta::assert_snapshot!(refused(b"echo hi\n"), @r"
        error: the script job.sh does not say what runs it
          line 1   echo hi
          needed   #!/bin/bash  as the first line
        hint: sed -i '1i #!/bin/bash' 'my job.sh'
        ");
        insta::assert_snapshot!(refused(b"#!/bin/sh\r\necho\r\n"), @r"
        error: the script job.sh has Windows line ends (CRLF)
          line 1   #!/bin/sh\r
        hint: sed -i 's/\r$//' 'my job.sh'
        ");
        insta::assert_snapshot!(refused(b"\x7fELF\x02\0\0"), @r"
        error: job.sh is a program, not a script
        hint: pcluster run -- ./'my job.sh'
        ");
    }

    #[test]
    fn a_missing_script_is_refused_with_code_3() {
        let failure = read("/nonexistent/job.sh").unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.render(80).starts_with("error: there is no script /nonexistent/job.sh\n"));
    }
}

//! The command line and environment of a job, from its order. Pure: nothing is looked up.
//!
//! Invariant: no word of the user's passes through a shell as code. The one shell text is a constant that gets them as
//! arguments.

use std::path::Path;

use crate::RunOrder;

/// Longest first line of a script that is read; the kernel's own limit.
const SHEBANG_BYTES: usize = 256;
/// Sources its first word and becomes the rest.
const WITH_PROFILE: &str = r#". "$0"; exec "$@""#;
/// Where commands are looked for when the order has no `PATH` of its own.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program that a script's first line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Its path, as written.
    pub program: String,
    /// The rest of the line: one argument, spaces and all, as the kernel has it.
    pub argument: Option<String>,
}

impl Interpreter {
    /// How it is named in messages.
    #[must_use]
    pub fn described(&self) -> String {
        format!("the script's interpreter {:?}", self.program.trim_end_matches('\r'))
    }

    /// The likely reason when it is not there.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        if self.program.ends_with('\r') { " (the script has Windows line ends)" } else { "" }
    }
}

/// Reads the `#!` line as the kernel would; `None` when there is none.
#[must_use]
pub fn interpreter(script: &[u8]) -> Option<Interpreter> {
    let rest = script.strip_prefix(b"#!")?;
    let first = rest.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(&first[..first.len().min(SHEBANG_BYTES)]);
    let text = text.trim_matches([' ', '\t']);
    let (program, argument) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let argument = Some(argument.trim_matches([' ', '\t'])).filter(|text| !text.is_empty());
    (!program.is_empty())
        .then(|| Interpreter { program: program.into(), argument: argument.map(String::from) })
}

/// Program and arguments: profile shell, interpreter, script (or the order's program), the order's arguments. `script`
/// is the path of the user's copy.
#[must_use]
pub fn words(
    order: &RunOrder,
    script: Option<&Path>,
    interpreter: Option<Interpreter>,
) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(profile) = &order.profile {
        let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
        words.extend([shell, "-c", WITH_PROFILE].map(String::from));
        words.push(profile.display().to_string());
    }
    if let Some(Interpreter { program, argument }) = interpreter {
        words.push(program);
        words.extend(argument);
    }
    let mut argv = order.argv.iter().cloned();
    let first = argv.next();
    words.extend(script.map(|path| path.display().to_string()).or(first));
    words.extend(argv);
    words
}

/// The order's environment, with `TMPDIR` in the private directory and the order's directories before `PATH`. A later
/// entry of the same name wins.
#[must_use]
pub fn environment(order: &RunOrder, private: Option<&Path>) -> Vec<(String, String)> {
    let mut all = order.env.clone();
    if let Some(private) = private {
        all.push(("TMPDIR".into(), private.join("tmp").display().to_string()));
    }
    if !order.path_prepend.is_empty() {
        let given = order.env.iter().rev().find(|(name, _)| name == "PATH");
        let back = given.map_or(DEFAULT_PATH, |(_, value)| value);
        let front: Vec<String> =
            order.path_prepend.iter().map(|dir| dir.display().to_string()).collect();
        // A job that was submitted by a job has them already.
        let back = back.split(':').filter(|dir| !front.iter().any(|known| known == dir));
        let whole = front.iter().map(String::as_str).chain(back);
        all.push(("PATH".into(), whole.collect::<Vec<_>>().join(":")));
    }
    all
}

//! The documents: every command they show is run, and what they show of its output is compared.
//!
//! The convention, for `README.md` and everything in `docs/`:
//!
//! - A block tagged `console` is run. A line `$ CMD` is a command, lines `> …` below it continue it
//!   (as the shell's own prompt shows them), all other lines are what it says (stdout and stderr).
//!   All commands of one document run in one bash, in order, so `cd` and variables last.
//! - A block tagged `text` (or anything else) is not run.
//! - A block of any language whose tag has `file=NAME`, or whose first line (after `#!`) is
//!   `# NAME` with a name like `cluster.toml` or `job.sh`, is written to that file first.
//! - A document that names no `cluster.toml` and does not say `pcluster init` gets one with small,
//!   quick nodes. One that never says `pcluster up` finds a head that is up.
//! - A line `...` in the output stands for any lines, `...` inside a line for any text; at the end
//!   of the last line for all that follows. Runs of spaces are equal, and so are figures that cannot
//!   be the same twice: times, money, sizes, percentages, addresses. Whole numbers are compared. No
//!   output shown: none is compared.
//! - A command must end with 0, unless it ends with a comment `# exit N`, or its shown output has an
//!   `error:` line (then with anything but 0).
//! - Commands that fetch, build, install or test this very repository are not run (`NOT_RUN`).
use pcluster_tests::{Cluster, PATIENCE, Said, Setup, repository};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// First words of commands that have no place in a sandbox.
const NOT_RUN: [&str; 11] = [
    "git",
    "cargo",
    "sudo",
    "apt",
    "apt-get",
    "systemctl",
    "ssh",
    "scripts/test",
    "scripts/install",
    "scripts/bench",
    "man",
];

#[test]
fn the_commands_of_the_readme_run_as_shown() {
    let readme = repository().join("README.md");
    if !readme.is_file() {
        pcluster_tests::not_run("README.md (there is none)");
        return;
    }
    check(&[readme]);
}

#[test]
fn the_commands_of_the_documents_run_as_shown() {
    let mut documents = Vec::new();
    collect(&repository().join("docs"), &mut documents);
    documents.sort();
    check(&documents);
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|end| end == "md") {
            into.push(path);
        }
    }
}

fn check(documents: &[PathBuf]) {
    let mut trouble = String::new();
    for path in documents {
        let document = Document::read(&fs::read_to_string(path).unwrap());
        if document.commands.is_empty() {
            continue;
        }
        println!("{}: {} commands", path.display(), document.commands.len());
        for wrong in run(&document) {
            let _ = writeln!(trouble, "{}:{wrong}\n", path.display());
        }
    }
    assert!(trouble.is_empty(), "documents and programs differ:\n\n{trouble}");
}

/// A command with what the document shows of it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// Of the command, from 1.
    line: usize,
    command: String,
    output: Vec<String>,
}

#[derive(Debug, Default)]
struct Document {
    /// Name, content, and before which command it is written.
    files: Vec<(String, String, usize)>,
    commands: Vec<Shown>,
}

impl Document {
    fn read(text: &str) -> Self {
        let mut document = Self::default();
        let mut lines = text.lines().enumerate();
        while let Some((_, line)) = lines.next() {
            let indent = line.len() - line.trim_start().len();
            let Some(tag) = line.trim_start().strip_prefix("```") else { continue };
            let block: Vec<(usize, String)> = lines
                .by_ref()
                .take_while(|(_, line)| !line.trim_start().starts_with("```"))
                .map(|(at, line)| (at + 1, line.get(indent..).unwrap_or("").to_owned()))
                .collect();
            if tag.split_whitespace().next() == Some("console") {
                document.console(block);
            } else if let Some(name) = file_name(tag, &block) {
                let lines = block.iter().map(|(_, line)| format!("{line}\n"));
                document.files.push((name, lines.collect(), document.commands.len()));
            }
        }
        document
    }

    fn console(&mut self, block: Vec<(usize, String)>) {
        let mut open = false;
        for (at, line) in block {
            if let Some(command) = line.strip_prefix("$ ") {
                open = true;
                self.commands.push(Shown { line: at, command: command.into(), output: Vec::new() });
                continue;
            }
            let Some(last) = self.commands.last_mut().filter(|_| open) else { continue };
            match line.strip_prefix("> ").or((line == ">").then_some("")) {
                Some(more) if last.output.is_empty() => {
                    last.command.push('\n');
                    last.command.push_str(more);
                }
                _ => last.output.push(line),
            }
        }
    }

    fn says(&self, words: &str) -> bool {
        self.commands.iter().any(|shown| shown.command.contains(words))
    }

    fn has_file(&self, name: &str) -> bool {
        self.files.iter().any(|(file, _, _)| file == name)
    }
}

fn file_name(tag: &str, block: &[(usize, String)]) -> Option<String> {
    if let Some(name) = tag.split_whitespace().find_map(|word| word.strip_prefix("file=")) {
        return Some(name.to_owned());
    }
    let first = block.iter().map(|(_, line)| line).find(|line| !line.starts_with("#!"))?;
    let name = first.strip_prefix("# ")?.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let ends = [".toml", ".sh", ".py"].iter().any(|end| name.ends_with(end));
    (ends && name.chars().all(plain) && !name.contains("..")).then(|| name.to_owned())
}

/// Runs a document in a sandbox; what is wrong, each with its line.
fn run(document: &Document) -> Vec<String> {
    let sandbox = sandbox(document);
    if !document.says("pcluster up") && !document.says("scripts/quickstart") {
        sandbox.up();
    }
    let notes = sandbox.root().join("doc");
    fs::create_dir_all(&notes).unwrap();
    let mut script = String::from("set +e\n");
    for (at, shown) in document.commands.iter().enumerate() {
        for (name, text, _) in document.files.iter().filter(|(_, _, before)| *before == at) {
            let copy = notes.join(format!("{at}-{}", name.replace('/', "-")));
            fs::write(&copy, text).unwrap();
            let _ = writeln!(
                script,
                "mkdir -p \"$(dirname '{name}')\"; cp '{}' '{name}'",
                copy.display()
            );
        }
        let here = notes.join(at.to_string());
        if is_run(&shown.command) {
            fs::write(&here, &shown.command).unwrap();
            let here = here.display();
            let _ = writeln!(
                script,
                "eval \"$(cat {here})\" >{here}.out 2>&1 </dev/null; echo $? >{here}.code"
            );
        } else {
            println!("  not run: {}", shown.command);
        }
    }
    let mut command = Command::new("bash");
    sandbox.dress(&mut command);
    command.arg("-c").arg(script).env("PCLUSTER_BIN_DIR", sandbox.bin());
    let ended = Said::try_of(&mut command, &sandbox.root().join("said"), Duration::from_secs(120));
    let mut wrong = Vec::new();
    for (at, shown) in document.commands.iter().enumerate().filter(|(_, s)| is_run(&s.command)) {
        let file = |end: &str| fs::read_to_string(notes.join(format!("{at}.{end}")));
        let out = file("out").unwrap_or_default();
        let Some(code) = file("code").ok().and_then(|code| code.trim().parse::<i32>().ok()) else {
            let why = if ended.is_none() { "did not end in time" } else { "was not reached" };
            wrong.push(format!("{}: $ {}\n{why}; so far:\n{out}", shown.line, shown.command));
            break;
        };
        wrong.extend(compare(shown, code, &out));
    }
    // A document may have clusters of its own, in folders that it made.
    for entry in fs::read_dir(sandbox.root().join("state")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let down = sandbox.run(&["-C", &name, "down", "--now"]);
        assert!(matches!(down.code, 0 | 6), "{down:#?}");
    }
    let left = pcluster_tests::within(PATIENCE, || sandbox.processes().is_empty().then_some(()));
    assert!(left.is_some(), "left: {:#?}", sandbox.processes());
    wrong
}

fn sandbox(document: &Document) -> Cluster {
    let compute = "cpus = 2, memory = \"1 GB\", max = 2, price = \"$0.05/h\"";
    let sandbox = Cluster::cold("docs", Setup::compute(compute));
    let work = sandbox.work();
    if document.has_file("cluster.toml") || document.says("pcluster init") {
        fs::remove_file(work.join("cluster.toml")).unwrap();
    }
    for name in ["scripts", "examples", "cluster.toml.example"] {
        copy(&repository().join(name), &work.join(name));
    }
    // `git clone` is not run, `cd pcluster` after it is.
    std::os::unix::fs::symlink(".", work.join("pcluster")).unwrap();
    if !document.has_file("job.sh") && !document.says("> job.sh") && !document.says(">job.sh") {
        sandbox.script("job.sh", "echo \"hello from $(hostname)\"");
    }
    sandbox
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if from.is_file() {
        fs::copy(from, to).unwrap();
    }
}

fn is_run(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    !NOT_RUN.contains(&first.trim_start_matches("./"))
}

fn compare(shown: &Shown, code: i32, out: &str) -> Option<String> {
    let refused = shown.output.iter().any(|line| line.starts_with("error:"));
    let asked = shown.command.rsplit_once("# exit ");
    let asked = asked.and_then(|(_, code)| code.trim().parse::<i32>().ok());
    let right = match asked {
        Some(asked) => code == asked,
        None => (code == 0) != refused,
    };
    if !right {
        return Some(format!("{}: $ {}\nended with {code}:\n{out}", shown.line, shown.command));
    }
    let said: Vec<String> = out.lines().map(tidy).filter(|line| !line.is_empty()).collect();
    let mut expected: Vec<String> = shown.output.iter().map(|line| tidy(line)).collect();
    expected.retain(|line| !line.is_empty());
    if expected.is_empty() || matches(&expected, &said) {
        return None;
    }
    let output = shown.output.join("\n");
    Some(format!("{}: $ {}\n--- shown\n{output}\n--- said\n{out}", shown.line, shown.command))
}

/// One line without what cannot be the same twice: each such word becomes `#`.
fn tidy(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(plain_word).collect();
    // `6 %`, `1.5 GB`, `20 s`: figure and unit are two words.
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let unit = word.trim_end_matches([',', ')', ';', ':']);
        let is_unit = ["%", "ms", "s", "min", "h", "d", "KB", "MB", "GB"].contains(&unit);
        if is_unit && out.last().is_some_and(|last| last == "#" || last.parse::<u64>().is_ok()) {
            out.pop();
            out.push("#".to_owned());
        } else {
            out.push(word);
        }
    }
    out.join(" ")
}

fn plain_word(word: &str) -> String {
    let ends = |c: char| "(),;".contains(c);
    let bare = word.trim_matches(ends).trim_start_matches(['~', '<', '+']);
    let figures = bare.chars().any(|c| c.is_ascii_digit());
    let of_figures = bare.chars().all(|c| c.is_ascii_digit() || "$.,:/%-KMGTBsmhd".contains(c));
    let whole = bare.chars().all(|c| c.is_ascii_digit());
    if figures && of_figures && !whole {
        let (before, after) = (
            &word[..word.len() - word.trim_start_matches(ends).len()],
            &word[word.trim_end_matches(ends).len()..],
        );
        return format!("{before}#{after}");
    }
    word.to_owned()
}

/// Whether `said` is what `expected` shows, where `...` stands for anything.
fn matches(expected: &[String], said: &[String]) -> bool {
    match (expected.first(), said.first()) {
        (None, None) => true,
        (Some(line), _) if line == "..." => {
            (0..=said.len()).any(|skip| matches(&expected[1..], &said[skip..]))
        }
        (Some(line), Some(first)) => {
            let rest_is_open = expected.len() == 1 && line.ends_with("...");
            line_matches(line, first) && (rest_is_open || matches(&expected[1..], &said[1..]))
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn line_matches(expected: &str, said: &str) -> bool {
    let mut parts = expected.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some(last) => said.ends_with(last),
    }
}

#[test]
fn the_convention_reads_commands_files_and_outputs() {
    let text = "\
# Title
```toml file=cluster.toml
provider = \"process\"
```
```console
$ pcluster queue
JOB  NAME
...
$ cat > x.sh <<'END'
> #!/bin/sh
> END
```
```text
$ pcluster nothing
```
```bash
#!/bin/bash
# job.sh
true
```
";
    let document = Document::read(text);
    assert!(document.has_file("cluster.toml") && document.has_file("job.sh"));
    assert_eq!(document.files[1].2, 2, "written after both commands");
    let commands: Vec<&str> = document.commands.iter().map(|c| c.command.as_str()).collect();
    assert_eq!(commands, ["pcluster queue", "cat > x.sh <<'END'\n#!/bin/sh\nEND"]);
    assert_eq!(document.commands[0].output, ["JOB  NAME", "..."]);
    assert_eq!(document.commands[0].line, 6);
}

#[test]
fn outputs_are_compared_but_for_what_is_never_the_same_twice() {
    let same = |shown: &str, said: &str| {
        let lines = |text: &str| text.lines().map(tidy).collect::<Vec<_>>();
        matches(&lines(shown), &lines(said))
    };
    assert!(same("1  job  running  0:12  $0.01  compute-1", "1 job running 1:03 <$0.02 compute-1"));
    assert!(same("jobs $0.40 65 %, 3 jobs", "jobs $1.2345 6 %, 3 jobs"));
    assert!(!same("3 jobs", "4 jobs"));
    assert!(!same("compute-1 idle", "compute-1 busy"));
    assert!(same("a\n...\nz", "a\nb\nc\nz"));
    assert!(!same("a\n...\nz", "a\nb"));
    assert!(same("{...", "{\n\"jobs\": 1\n}"));
    assert!(same("job 1 ... on compute-1", "job 1 runs on compute-1"));
}

#[test]
fn a_document_is_run_and_a_wrong_line_in_it_is_found() {
    let text = "\
```console
$ J=$(pcluster submit -q job.sh)
$ pcluster wait $J
$ pcluster logs $J
hello from ...
$ pcluster show 99   # exit 4
error: there is no job 99
...
```
";
    assert_eq!(run(&Document::read(text)), Vec::<String>::new());
    let wrong = run(&Document::read(&text.replace("hello from", "goodbye from")));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("4: $ pcluster logs $J"), "{wrong:?}");
}

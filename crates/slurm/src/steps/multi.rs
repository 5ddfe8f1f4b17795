//! `--multi-prog`: a file that says which task runs what.
//!
//! Invariant: every task has exactly one line; `%t` and `%o` are its number and its place in the
//! line's list.

/// The words of each task.
///
/// # Errors
/// A line that cannot be read, a task named twice, a task without a line.
pub(super) fn parse(text: &str, tasks: u32) -> Result<Vec<Vec<String>>, String> {
    let mut argv: Vec<Option<Vec<String>>> = vec![None; usize::try_from(tasks).unwrap_or(0)];
    let mut rest: Option<Vec<String>> = None;
    for (number, line) in joined(text) {
        let words = words(&line);
        let Some((ranks, command)) =
            words.split_first().filter(|(first, _)| !first.starts_with('#'))
        else {
            continue;
        };
        if command.is_empty() {
            return Err(format!("Line {number} of the multi-prog file has no program: {line}"));
        }
        if ranks == "*" {
            rest = Some(command.to_vec());
            continue;
        }
        let list = numbers(ranks)
            .ok_or_else(|| format!("Line {number} of the multi-prog file has no tasks: {line}"))?;
        for (offset, task) in list.iter().enumerate() {
            let Some(slot) = usize::try_from(*task).ok().and_then(|task| argv.get_mut(task)) else {
                continue;
            };
            if slot.is_some() {
                return Err(format!(
                    "Line {number} of the multi-prog file names task {task} again"
                ));
            }
            *slot = Some(filled(command, *task, offset));
        }
    }
    let mut next = 0;
    let task = |(number, slot): (usize, Option<Vec<String>>)| {
        slot.or_else(|| {
            let offset = next;
            next += 1;
            rest.as_ref().map(|rest| filled(rest, u32::try_from(number).unwrap_or(0), offset))
        })
        .ok_or_else(|| format!("Task {number} is not in the multi-prog file"))
    };
    argv.into_iter().enumerate().map(task).collect()
}

fn filled(command: &[String], task: u32, offset: usize) -> Vec<String> {
    let word =
        |word: &String| word.replace("%t", &task.to_string()).replace("%o", &offset.to_string());
    command.iter().map(word).collect()
}

/// Lines with their numbers; one that ends with a backslash goes on in the next.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| open) {
            Some((_, before)) => before.push_str(line),
            None => lines.push((number + 1, line.to_owned())),
        }
        open = more;
    }
    lines
}

/// Words with quotes as in a shell, and nothing else of one.
fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') if quote != Some('\'') => {
                word.get_or_insert_default().extend(chars.next());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// `0,2-3`.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last - first > 100_000 {
            return None;
        }
        out.extend(first..=last);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_its_own_program() {
        let text = "# comment\n0 ./master 'a b'\n1-2 ./slave %t %o\n* echo rest \\\n %o\n";
        let argv = parse(text, 5).unwrap();
        let shown: Vec<String> = argv.iter().map(|words| words.join("|")).collect();
        assert_eq!(
            shown,
            ["./master|a b", "./slave|1|0", "./slave|2|1", "echo|rest|0", "echo|rest|1"]
        );
    }

    #[test]
    fn what_is_missing_or_double_is_named() {
        assert_eq!(parse("0 a\n", 2).unwrap_err(), "Task 1 is not in the multi-prog file");
        assert!(parse("0-1 a\n1 b\n", 2).unwrap_err().contains("names task 1 again"));
        assert!(parse("x a\n", 1).unwrap_err().contains("Line 1"));
        assert!(parse("0\n", 1).unwrap_err().contains("no program"));
    }
}

//! What people see when the file is wrong.

use crate::common::{golden, read, root, source};
use pcluster_config::{Machine, ProblemKind, parse, render, render_all};

fn messages(text: &str) -> Vec<String> {
    let shown = |problem: &pcluster_config::Problem| {
        let hints: Vec<String> = problem.hints.iter().map(|hint| format!(" | {hint}")).collect();
        format!("{}:{} {}{}", problem.line, problem.column, problem.message, hints.concat())
    };
    read(text).problems.iter().map(shown).collect()
}

#[test]
fn the_screen_of_the_design() {
    let text = "provider = \"ec2\"\nhead     = { type = \"t3.large\" }\n\
                compute  = { types = [\"c6i.4xlarge\"], idle_timout = \"5 min\" }\n";
    let parsed = read(text);
    let expected = "\
error: unknown key `idle_timout`
 --> cluster.toml:3:39
  |
3 | compute  = { types = [\"c6i.4xlarge\"], idle_timout = \"5 min\" }
  |                                       ^^^^^^^^^^^ not a key of a pool
hint: did you mean `idle_timeout`?  all keys: pcluster config explain compute
";
    assert_eq!(render_all(&parsed, text, 80, false), expected);
    let colored = render(&parsed.problems[0], text, "cluster.toml", 80, true);
    assert!(colored.contains("\x1b["));
}

#[test]
fn one_run_shows_every_error_in_the_order_of_the_file() {
    let dir = root().join("crates/config/tests/golden");
    let text = std::fs::read_to_string(dir.join("errors.toml")).expect("there");
    let parsed = read(&text);
    assert!(parsed.config.is_none());
    let starts: Vec<_> =
        parsed.problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    golden(&dir.join("errors.txt"), &render_all(&parsed, &text, 80, false));
}

#[test]
fn several_syntax_errors_are_shown_together() {
    let dir = root().join("crates/config/tests/golden");
    let text =
        "provider = process\nname = \"a\nimage = \"host\"\nimage = \"host\"\nmax = = 3\n[pools.a\n";
    let parsed = read(text);
    assert_eq!(parsed.problems.len(), 5, "{:#?}", parsed.problems);
    assert!(parsed.problems.iter().all(|problem| problem.kind == ProblemKind::Syntax));
    golden(&dir.join("syntax.txt"), &render_all(&parsed, text, 80, false));
}

#[test]
fn an_empty_file_says_what_is_needed() {
    let shown = render_all(&read(""), "", 80, false);
    assert!(shown.starts_with("error: `provider` is missing\n --> cluster.toml\n"), "{shown}");
    assert!(shown.contains("hint: provider = \"process\""), "{shown}");
}

#[test]
fn a_slip_in_a_required_key_is_one_error() {
    assert_eq!(
        messages("providr = \"process\""),
        ["1:1 unknown key `providr` | did you mean `provider`?  all keys: pcluster config explain"]
    );
}

#[test]
fn a_dotted_name_gets_the_hint() {
    let text = "provider = \"process\"\n[images.genomics.v2]\nbase = \"x\"\n";
    let found = messages(text).join("\n");
    assert!(
        found.contains("TOML splits names at dots; a name has none: [images.genomics-v2]"),
        "{found}"
    );
    let text = "provider = \"process\"\n[shapes.c6i.large]\ncpus = 2\n";
    let found = messages(text).join("\n");
    assert!(found.contains("write [shapes.\"c6i.large\"]"), "{found}");
}

#[test]
fn the_short_form_and_the_table_at_once_are_an_error() {
    for text in [
        "provider = \"process\"\ncompute = { max = 2 }\n[pools.compute]\nmax = 3\n",
        "provider = \"process\"\n[pools.compute]\nmax = 3\n[compute]\nmax = 2\n",
        "provider = \"process\"\ncompute = { name = \"main\" }\n[pools.main]\nmax = 3\n",
    ] {
        let found = messages(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is there twice"), "{found:?}");
        assert!(found[0].contains("keep one of them"), "{found:?}");
    }
    let text = "provider = \"process\"\ncompute = { name = \"main\" }\n[pools.compute]\nmax = 3\n";
    assert_eq!(messages(text), Vec::<String>::new());
}

#[test]
fn a_key_in_the_wrong_place_is_told_its_own() {
    let found = messages("provider = \"process\"\nidle_timeout = \"1 min\"\n");
    assert!(found[0].contains("`idle_timeout` is a key of a pool"), "{found:?}");
}

#[test]
fn unit_slips_show_the_right_line() {
    let compute =
        |value: &str| messages(&format!("provider = \"process\"\ncompute = {{ {value} }}"));
    for (value, hint) in [
        ("idle_timeout = 5", "idle_timeout = \"5 min\""),
        ("memory = 2", "memory = \"2 GB\""),
        ("price = \"$0.05\"", "price = \"$0.05/h\""),
        ("price = 0.05", "price = \"$0.05/h\""),
        ("max = \"4\"", "max = 4"),
        ("exclusive = \"true\"", "exclusive = true"),
        ("types = \"big\"", "types = [\"big\"]"),
    ] {
        let found = compute(value);
        assert!(found[0].ends_with(&format!(" | {hint}")), "{value}: {found:?}");
    }
}

#[test]
fn impossible_values_are_refused() {
    for (line, part) in [
        ("compute = { cpus = 0 }", "allowed"),
        ("compute = { cpus = -2 }", "not possible"),
        ("compute = { cpus = 99999999999999999999 }", ""),
        ("compute = { memory = \"0\" }", "holds no job"),
        ("compute = { memory = \"99999999999 TB\" }", "more than pcluster can count"),
        ("compute = { min = 3, max = 2 }", "min 3 and max 2"),
        ("head = { heartbeat = \"0\" }", "is 0"),
        ("compute = { provider = \"proces\" }", "no provider"),
        ("image = \"gone\"", "no image"),
        ("head = { type = \"t3.large\" }", "for provider ec2"),
        ("compute = { image = \"debian-12\" }", "cannot boot image"),
        ("compute = { types = [\"big\"] }", "no shape \"big\""),
        ("storage = { shared = \"~ana\" }", "not an absolute path"),
        ("storage = { shared = \"/a/../b\" }", "not an absolute path"),
        ("name = \"way-too-long-a-name-for-any-cluster-at-all\"", "is not a name"),
    ] {
        let text = format!("provider = \"process\"\n{line}\n");
        let parsed = read(&text);
        assert!(parsed.config.is_none(), "{line}");
        let shown = render_all(&parsed, &text, 200, false);
        assert!(shown.contains(part), "{line}: {shown}");
    }
}

#[test]
fn a_control_character_never_reaches_the_terminal() {
    let text = "provider = \"\\u001b[31mred\"\nimage = \"\\u001b]0;x\\u0007\"\n";
    let shown = render_all(&read(text), text, 80, false);
    assert!(!shown.contains('\x1b') && !shown.contains('\x07'), "{shown:?}");
    let raw = "provider = \"\x1b[31mred\"\nimag\x1be = 3\n";
    let shown = render_all(&read(raw), raw, 80, false);
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn a_long_line_is_cut_to_the_terminal() {
    let text = format!("provider = \"process\"\nname = \"{}\"\n", "x".repeat(300));
    let shown = render_all(&read(&text), &text, 80, false);
    assert!(shown.lines().all(|line| line.chars().count() <= 130), "{shown}");
}

#[test]
fn a_file_with_windows_line_ends_is_read() {
    let text = "provider = \"process\"\r\nmxa = 3\r\n";
    assert!(messages(text)[0].starts_with("2:1 unknown key `mxa`"), "{:?}", messages(text));
}

#[test]
fn a_huge_file_is_refused_at_once() {
    let text = format!("provider = \"process\"\n{}", "# x\n".repeat(300_000));
    assert!(read(&text).problems[0].message.contains("larger than 1 MB"));
}

#[test]
fn a_machine_of_nothing_still_gives_a_configuration() {
    let machine = Machine { cpus: 0, memory_bytes: 0, ..crate::common::machine() };
    assert!(parse("provider = \"process\"", &source(), &machine).config.is_some());
}

#[test]
fn the_name_is_known_while_somebody_edits() {
    assert_eq!(read("name = \"lab\"\nprovider = \n").name, "lab");
    assert_eq!(read("name = \"lab\"\nproviderx = 1\n").name, "lab");
    assert_eq!(read("provider = [").name, "ana-s-project");
}

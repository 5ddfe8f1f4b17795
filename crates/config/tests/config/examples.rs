//! The six files of `examples/`: each is parsed, checked and explained.

use crate::common::{golden, machine, root};
use pcluster_config::{
    Source, check_summary, explain, parse, render_all, render_notes, render_summary, up_refusals,
};

fn check(name: &str, width: usize) -> (String, String) {
    let file = format!("{name}.toml");
    let text = std::fs::read_to_string(root().join("examples").join(&file)).expect("example");
    let source =
        Source { file_name: file.clone(), folder: "/srv/examples".into(), in_system_dir: false };
    let parsed = parse(&text, &source, &machine());
    assert!(parsed.problems.is_empty(), "{}", render_all(&parsed, &text, 100, false));
    let config = parsed.config.as_ref().expect("no problem");
    let mut out = render_summary(&check_summary(config), &file, width);
    out.push_str(&render_notes(&parsed.notes, false));
    for refusal in up_refusals(&parsed) {
        out.push_str(&format!(
            "up refuses (line {}): {}\n  hint: {}\n",
            refusal.line, refusal.message, refusal.hint
        ));
    }
    (out, explain(&parsed, None, width).expect("no topic"))
}

#[test]
fn the_six_examples_are_right_and_explained() {
    let golden_dir = root().join("crates/config/tests/golden");
    for name in ["laptop", "lab-ssh", "vm", "ec2-genomics", "ec2-gpu-mpi", "onprem-burst"] {
        let (check_text, explain_text) = check(name, 80);
        golden(&golden_dir.join(format!("{name}.check.txt")), &check_text);
        golden(&golden_dir.join(format!("{name}.explain.txt")), &explain_text);
    }
}

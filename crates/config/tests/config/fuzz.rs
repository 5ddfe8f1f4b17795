//! No text makes the parser panic, and what it says is always renderable.

use crate::common::read;
use pcluster_config::{check_summary, explain, render_all, render_summary, up_refusals};
use proptest::prelude::*;

fn survives(text: &str) {
    let parsed = read(text);
    assert_eq!(parsed.config.is_some(), parsed.problems.is_empty());
    let _ = render_all(&parsed, text, 80, false);
    let _ = explain(&parsed, None, 80);
    let _ = up_refusals(&parsed);
    if let Some(config) = &parsed.config {
        let _ = render_summary(&check_summary(config), "cluster.toml", 80);
        assert_eq!(config.pools.iter().filter(|pool| pool.default).count(), 1);
    }
}

/// A value of any type, often nearly right.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\"process\"".to_string()),
        Just("\"ec2\"".to_string()),
        Just("\"5 min\"".to_string()),
        Just("\"2 GB\"".to_string()),
        Just("\"$1/h\"".to_string()),
        Just("\"99999999999999 TB\"".to_string()),
        Just("[\"c6i.4xlarge\", \"x\"]".to_string()),
        Just("[\"ws[1-3]\"]".to_string()),
        Just("true".to_string()),
        Just("4294967296".to_string()),
        Just("1979-05-27".to_string()),
        Just("{ a = 1 }".to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").to_lowercase()),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        "[ -~]{0,12}",
    ]
}

/// A line with a key of the table, a name in place of each star.
fn line() -> impl Strategy<Value = String> {
    let keys = pcluster_config::keys::all();
    (0..keys.len(), "[a-zA-Z0-9._/-]{1,8}", value()).prop_map(move |(at, name, value)| {
        let path = keys[at].path.replace('*', &format!("{name:?}"));
        format!("{path} = {value}")
    })
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_bytes_that_are_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn toml_like_text(text in "[\\[\\]{}=\".,#\n a-z0-9$_-]{0,200}") {
        survives(&text);
    }

    #[test]
    fn keys_with_odd_values(lines in proptest::collection::vec(line(), 0..12), whole in any::<bool>()) {
        let start = if whole { "provider = \"process\"\n" } else { "" };
        survives(&format!("{start}{}\n", lines.join("\n")));
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    survives(&format!("provider = {}", "[".repeat(100_000)));
    survives(&format!("a{} = 1", ".a".repeat(50_000)));
    survives(&"[a]\n".repeat(1000));
}

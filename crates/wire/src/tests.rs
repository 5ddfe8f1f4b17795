use super::*;

#[test]
fn unknown_fields_are_tolerated_and_new_ones_have_defaults() {
    let text =
        r#"{"say":"run_ended","run":7,"exit":{"code":3},"started_at":1,"ended_at":2,"later":true}"#;
    let frame: AgentFrame = serde_json::from_str(text).expect("frame");
    let AgentFrame::RunEnded(end) = frame else { panic!("other frame") };
    assert_eq!((end.run, end.exit, end.usage), (RunId(7), Exit::Code(3), Usage::default()));
}

/// Each pair that can meet, while no version drops what the one before it spoke.
#[test]
fn two_versions_speak_the_newest_that_both_know() {
    let of = |oldest, newest| Spoken { oldest, newest };
    for (head, agent, agreed) in [
        (of(1, 1), of(1, 1), Some(1)),
        (of(1, 2), of(1, 1), Some(1)),
        (of(1, 1), of(1, 2), Some(1)),
        (of(1, 3), of(2, 2), Some(2)),
        (of(2, 3), of(1, 1), None),
        (of(1, 1), of(2, 3), None),
    ] {
        assert_eq!(head.common(agent), agreed, "{head} and {agent}");
        assert_eq!(agent.common(head), agreed, "{agent} and {head}");
    }
}

#[test]
fn an_agent_that_names_no_oldest_protocol_speaks_one() {
    let text = r#"{"say":"hello","protocol":1,"cluster":"c","node":"1.0",
        "instance":"i","boot_id":"b","runs":[],"facts":{"hostname":"h","arch":"x86_64",
        "usable":{"cpus":1,"memory_bytes":1,"gpus":0,"tmp_bytes":0},"kernel":"k","cage":"none",
        "switches_users":false,"agent_version":"0.1.0","clock":0}}"#;
    let frame: AgentFrame = serde_json::from_str(text).expect("the frame of an older agent");
    let AgentFrame::Hello { protocol, oldest_protocol, .. } = frame else { panic!("other frame") };
    assert_eq!(Spoken::said(protocol, oldest_protocol), Spoken { oldest: 1, newest: 1 });
}

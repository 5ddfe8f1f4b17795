use super::*;

#[test]
fn unknown_fields_are_tolerated_and_new_ones_have_defaults() {
    let text =
        r#"{"say":"run_ended","run":7,"exit":{"code":3},"started_at":1,"ended_at":2,"later":true}"#;
    let frame: AgentFrame = serde_json::from_str(text).expect("frame");
    let AgentFrame::RunEnded(end) = frame else { panic!("other frame") };
    assert_eq!((end.run, end.exit, end.usage), (RunId(7), Exit::Code(3), Usage::default()));
}

//! What the commands that show things have in common.
use super::*;

fn words(args: &[&str]) -> Result<Words, String> {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    read(&options::SQUEUE, &args).map_err(|ended| match ended {
        Ended::Page(page) => page,
        Ended::Refused(refusal) => refusal.text(),
    })
}

#[test]
fn only_this_cluster_can_be_meant() {
    let line = |args: &[&str]| {
        let words = words(args).expect("options");
        cluster_line("squeue", &words, "refc").map_err(|refusal| refusal.text())
    };
    assert_eq!(line(&[]), Ok(None));
    assert_eq!(line(&["-M", "all"]), Ok(Some("CLUSTER: refc\n".to_owned())));
    assert_eq!(line(&["--clusters=refc"]), Ok(Some("CLUSTER: refc\n".to_owned())));
    let refused = line(&["-M", "other"]).expect_err("refused");
    assert!(refused.starts_with("squeue: error: 'other' can't be reached now"), "{refused}");
}

#[test]
fn what_would_change_the_result_is_refused_and_pages_of_help_are_answers() {
    let refused = words(&["--yaml"]).expect_err("refused");
    assert!(
        refused.starts_with("squeue: error: --yaml is not supported here\nhint: "),
        "{refused}"
    );
    assert_eq!(words(&["--version"]).expect_err("a page"), "slurm 23.11.10\n");
    assert!(words(&["--local", "--federation"]).is_ok());
}

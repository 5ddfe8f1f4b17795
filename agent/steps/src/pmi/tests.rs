//! What MPICH's libraries send, and what they must read.
use super::*;
use proptest::prelude::*;

fn local(numbers: &[u32], size: u32) -> Local {
    let order = LibraryOrder { name: "9.0".into(), size, mapping: "(vector,(0,1,2))".into() };
    Local::new(&order, numbers.to_vec())
}

fn said(acts: Vec<Act>) -> String {
    let text = |act: Act| match act {
        Act::Say { at, bytes } => format!("{at}< {}", String::from_utf8(bytes).unwrap()),
        other => format!("{other:?}"),
    };
    acts.into_iter().map(text).collect()
}

#[test]
fn version_1_from_start_to_end() {
    let mut local = local(&[0, 1], 2);
    let mut ask = |at, line: &str| said(local.take(at, format!("{line}\n").as_bytes()));
    let hello = "cmd=init pmi_version=1 pmi_subversion=1";
    assert_eq!(ask(0, hello), "0< cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n");
    ask(1, hello);
    assert!(ask(0, "cmd=get_maxes").contains("keylen_max=64"));
    assert_eq!(ask(0, "cmd=get_my_kvsname"), "0< cmd=my_kvsname kvsname=9.0 rc=0\n");
    assert_eq!(ask(0, "cmd=get_universe_size"), "0< cmd=universe_size size=2 rc=0\n");
    let put = ask(0, "cmd=put kvsname=9.0 key=P0 value=desc#host a$port#1$");
    assert_eq!(put, "0< cmd=put_result rc=0 msg=success\n");
    assert_eq!(ask(0, "cmd=barrier_in"), "");
    let all = ask(1, "cmd=barrier_in");
    assert_eq!(all, r#"BarrierIn { puts: [("P0", "desc#host a$port#1$")] }"#);
    let out = said(local.barrier_out(vec![("P1".into(), "x".into())]));
    assert_eq!(out, "0< cmd=barrier_out rc=0\n1< cmd=barrier_out rc=0\n");
    let mut ask = |at, line: &str| said(local.take(at, format!("{line}\n").as_bytes()));
    let got = ask(1, "cmd=get kvsname=9.0 key=P0");
    assert_eq!(got, "1< cmd=get_result rc=0 msg=success value=desc#host a$port#1$\n");
    assert!(ask(0, "cmd=get kvsname=9.0 key=P1").contains("value=x"));
    assert!(ask(0, "cmd=get kvsname=9.0 key=none").contains("rc=-1"));
    assert!(ask(0, "cmd=get kvsname=9.0 key=PMI_process_mapping").contains("(vector,(0,1,2))"));
    assert_eq!(ask(0, "cmd=finalize"), "0< cmd=finalize_ack rc=0\n");
    assert!(!local.is_unfinished(0) && local.is_unfinished(1));
}

#[test]
fn version_2_from_start_to_end() {
    let mut local = local(&[4], 8);
    let first = said(local.take(0, b"cmd=init pmi_version=2 pmi_subversion=0\n"));
    assert_eq!(first, "0< cmd=response_to_init pmi_version=2 pmi_subversion=0 rc=0\n");
    let mut ask = |text: &str| said(local.take(0, format!("{:6}{text}", text.len()).as_bytes()));
    let full = ask("cmd=fullinit;pmijobid=9.0;pmirank=4;threaded=FALSE;");
    assert!(full.contains("cmd=fullinit-response;pmi-version=2;"), "{full}");
    assert!(full.contains("rank=4;size=8;") && full.contains("rc=0;"), "{full}");
    assert!(ask("cmd=job-getid;").contains("jobid=9.0;"));
    assert!(ask("cmd=kvs-put;thrid=t1;key=a;value=x;;y;").contains("thrid=t1;rc=0;"));
    assert!(ask("cmd=kvs-get;jobid=9.0;srcid=-1;key=a;").contains("found=TRUE;value=x;;y;"));
    assert!(ask("cmd=kvs-get;key=none;").contains("found=FALSE;rc=0;"));
    assert!(ask("cmd=info-getjobattr;key=PMI_process_mapping;").contains("(vector,(0,1,2))"));
    assert_eq!(ask("cmd=info-getnodeattr;key=n;wait=TRUE;"), "");
    let both = ask("cmd=info-putnodeattr;key=n;value=v;");
    assert!(both.contains("putnodeattr-response;rc=0;"), "{both}");
    assert!(both.contains("getnodeattr-response;found=TRUE;value=v;"), "{both}");
    assert!(ask("cmd=spawn;ncmds=1;").contains("rc=-1;"));
    assert_eq!(ask("cmd=kvs-fence;"), r#"BarrierIn { puts: [("a", "x;y")] }"#);
    let out = said(local.barrier_out(Vec::new()));
    assert!(out.contains("cmd=kvs-fence-response;rc=0;"), "{out}");
}

#[test]
fn more_tasks_are_refused_and_an_abort_is_passed_on() {
    let mut local = local(&[0, 1], 2);
    let spawn = b"mcmd=spawn\nnprocs=1\nexecname=x\nendcmd\n";
    assert!(said(local.take(0, &spawn[..12])).is_empty());
    assert!(said(local.take(0, &spawn[12..])).contains("spawn_result rc=-1"));
    let abort = local.take(1, b"cmd=abort exitcode=7\n");
    assert_eq!(abort, [Act::Abort { at: 1, code: 7, text: String::new() }]);
}

#[test]
fn a_barrier_needs_every_part_once() {
    let mut hub = Hub::new(2);
    let put = |key: &str| vec![(key.to_owned(), "v".to_owned())];
    assert_eq!(hub.came(0, put("a")), None);
    assert_eq!(hub.came(0, put("a")), None);
    assert_eq!(hub.came(1, put("b")), Some([put("a"), put("b")].concat()));
    assert_eq!(hub.came(1, Vec::new()), None);
}

#[test]
fn mappings_name_blocks_and_rounds() {
    assert_eq!(mapping(&[vec![0, 1], vec![2, 3]]), "(vector,(0,2,2))");
    assert_eq!(mapping(&[vec![0, 1, 2], vec![3, 4]]), "(vector,(0,1,3),(1,1,2))");
    assert_eq!(mapping(&[vec![0, 2], vec![1, 3]]), "(vector,(0,2,1),(0,2,1))");
    assert_eq!(mapping(&[vec![0, 3], vec![1, 2]]), "");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), two in any::<bool>()) {
        let mut local = local(&[0], 1);
        if two {
            local.take(0, b"cmd=init pmi_version=2 pmi_subversion=0\n");
        }
        local.take(0, &bytes);
    }
}

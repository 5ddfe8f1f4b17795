//! The reference's situations, replayed from made-up records.
use super::*;
use crate::options::{self, Order};
use crate::words::made_up;
use pcluster_api::{JobRecord, StepRecord};

fn list(records: Vec<JobRecord>) -> RecordList {
    made_up::records(records)
}

fn nobody(_: &str) -> Option<String> {
    None
}

fn wanted(args: &str) -> Wanted {
    let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    let words = options::parse(&options::SQUEUE, &args, Order::Permute).expect("options");
    Wanted::of(&words, 0, nobody).expect("wanted")
}

fn squeue(args: &str, records: Vec<JobRecord>) -> String {
    page(&list(records), &wanted(args), &made_up::clock()).expect("a page")
}

/// What the reference had in its queue.
fn queue() -> Vec<JobRecord> {
    let mut never = made_up::pending(44);
    never.name = "nev".into();
    never.reason = Some(made_up::reason("dependency_failed"));
    vec![
        never,
        made_up::running(146),
        made_up::array_rest(148, "2-9", Some(2)),
        made_up::array_task(148, 0, 149),
        made_up::array_task(148, 1, 150),
    ]
}

#[test]
fn the_plain_table_folds_what_waits() {
    insta::assert_snapshot!(squeue("", queue()), @r"
                 JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)
                    44      main      nev     root PD       0:00      1 (DependencyNeverSatisfied)
           148_[2-9%2]      main     wrap     root PD       0:00      1 (JobArrayTaskLimit)
                   146      main     wrap     root  R       0:05      1 c1
                 148_0      main     wrap     root  R       0:02      1 c1
                 148_1      main     wrap     root  R       0:02      1 c2
    ");
}

#[test]
fn r_unfolds_and_j_picks() {
    let page = squeue("-r -h -j 148 -o %i", queue());
    assert_eq!(page.lines().count(), 10);
    assert!(page.starts_with("148_2\n148_3\n") && page.ends_with("148_0\n148_1\n"), "{page}");
    assert_eq!(squeue("-h -j 148_9 -o %i", queue()), "148_9\n");
    assert_eq!(squeue("-h -j 150 -o %i", queue()), "148_1\n");
    assert_eq!(squeue("-h -j 146,148_[0,3-4] -o %i", queue()), "148_3\n148_4\n146\n148_0\n");
}

#[test]
fn every_letter_says_what_the_reference_said() {
    let format = "%i|%A|%F|%K|%t|%T|%r|%R|%N|%B|%D|%C|%m|%l|%L|%M|%S|%V|%e|%Z|%o|%u|%a|%q|%P|%j";
    let page = squeue(&format!("-h -j 148 -o {format}"), queue());
    insta::assert_snapshot!(page, @r"
    148_[2-9%2]|148|148|2-9%2|PD|PENDING|JobArrayTaskLimit|(JobArrayTaskLimit)||n/a|1|1|100M|5:00|5:00|0:00|N/A|2026-11-23T23:25:22|N/A|/home/user/work|(null)|root|root|normal|main|wrap
    148_0|149|148|0|R|RUNNING|None|c1|c1|c1|1|1|100M|5:00|4:58|0:02|2026-11-23T23:25:23|2026-11-23T23:25:22|2026-11-23T23:30:23|/home/user/work|(null)|root|root|normal|main|wrap
    148_1|150|148|1|R|RUNNING|None|c2|c2|c2|1|1|100M|5:00|4:58|0:02|2026-11-23T23:25:23|2026-11-23T23:25:22|2026-11-23T23:30:23|/home/user/work|(null)|root|root|normal|main|wrap
    ");
}

#[test]
fn names_are_twenty_wide_and_ended_jobs_are_told_of() {
    let records = vec![
        made_up::ended(125, "completed", Some(0), None),
        made_up::ended(141, "cancelled", None, Some(15)),
        made_up::ended(153, "failed", Some(3), None),
    ];
    let page = squeue("-O JobArrayID,StateCompact,Reason -t all --me", records.clone());
    let expected = "\
JOBID               ST                  REASON              
125                 CD                  None                
141                 CA                  None                
153                 F                   NonZeroExitCode     
";
    assert_eq!(page, expected);
    assert_eq!(squeue("-h", records.clone()), "");
    assert_eq!(squeue("-h -t F -o %A", records.clone()), "153\n");
    assert_eq!(squeue("-h -t all -u nobody", records), "");
}

#[test]
fn doubled_signs_and_text_between_letters_stay() {
    let page = squeue("-h -j 146 -o %%i|%%T|%%N|%%r", queue());
    assert_eq!(page, "146|RUNNING|c1|None\n");
    let page = squeue(r#"--me -j 146 -o "%i","%j","%m","%b""#, queue());
    assert_eq!(
        page,
        "\"JOBID\",\"NAME\",\"MIN_MEMORY\",\"TRES_PER_NODE\"\n\"146\",\"wrap\",\"200M\",\"N/A\"\n"
    );
    assert_eq!(
        squeue("-h -j 146 -o %A|%u|%t|%.15j|%Z", queue()),
        "146|root|R|           wrap|/home/user/work\n"
    );
    assert_eq!(squeue("-h -j 146 -o %T^%B", queue()), "RUNNING^c1\n");
}

#[test]
fn one_unknown_id_is_an_error_and_two_are_none() {
    let page_of = |args: &str, records| {
        let page = page(&list(records), &wanted(args), &made_up::clock());
        page.map_err(|refusal| (refusal.text(), refusal.code))
    };
    let invalid = ("slurm_load_jobs error: Invalid job id specified\n".to_owned(), 1);
    assert_eq!(page_of("-j 99999", Vec::new()), Err(invalid.clone()));
    assert_eq!(page_of("-h -j 99999,99998", Vec::new()), Ok(String::new()));
    // An id that is remembered is known, whatever states are wanted.
    let ended = made_up::ended(125, "completed", Some(0), None);
    assert_eq!(page_of("-h -j 125", vec![ended.clone()]), Ok(String::new()));
    let old = JobRecord { ended_at_ms: Some(made_up::NOW_MS - 301_000), ..ended };
    assert_eq!(page_of("-h -j 125", vec![old]), Err(invalid));
}

#[test]
fn a_page_asks_once() {
    let query = wanted("-h -j 1,2_3,4_[1-2] -t all").query(made_up::NOW_MS);
    assert_eq!((query.ids.as_deref(), query.ended), (Some("1,2_3,4"), true));
    let query = wanted("-u ana,bert -n x -t all").query(made_up::NOW_MS);
    assert_eq!((query.users.as_deref(), query.names.as_deref()), (Some("ana,bert"), Some("x")));
    assert_eq!(query.ended_since_ms, Some(made_up::NOW_MS - 300_000));
    // A user by number is picked from the answer.
    assert_eq!(wanted("--me").query(made_up::NOW_MS).users, None);
}

#[test]
fn long_lists_start_lists_and_steps_have_their_own_columns() {
    let page = squeue("-l -j 146", queue());
    insta::assert_snapshot!(page, @r"
    Mon Nov 23 23:25:25 2026
                 JOBID PARTITION     NAME     USER    STATE       TIME TIME_LIMI  NODES NODELIST(REASON)
                   146      main     wrap     root  RUNNING       0:05      5:00      1 c1
    ");
    let mut waiting = made_up::pending(7);
    waiting.expected_start_ms = Some(made_up::NOW_MS + 60_000);
    insta::assert_snapshot!(squeue("--start -h", vec![waiting, made_up::running(8)]), @"                 7      main     wrap     root PD 2026-11-23T23:26:25      1 (null)               (Resources)");
    let mut running = made_up::running(146);
    running.steps = vec![made_up::step(0), StepRecord { ended_at_ms: None, ..made_up::step(1) }];
    insta::assert_snapshot!(squeue("-s", vec![running]), @r"
             STEPID     NAME PARTITION     USER      TIME NODELIST
              146.1 hostname      main     root      0:07 c1
          146.batch    batch      main     root      0:05 c1
    ");
}

#[test]
fn sorting_follows_the_letters() {
    assert_eq!(squeue("-h -S -i -o %i", queue()), "148_1\n148_0\n148_[2-9%2]\n146\n44\n");
    assert_eq!(
        squeue("-h -S j,-A -t R,PD -o %j.%A", queue()),
        "nev.44\nwrap.150\nwrap.149\nwrap.148\nwrap.146\n"
    );
}

#[test]
fn times_follow_the_variable() {
    let mut clock = made_up::clock();
    clock.format = "%s".into();
    let text = page(&list(queue()), &wanted("-h -j 146 -o %S_%V"), &clock).expect("a page");
    assert_eq!(text, "1795476320_1795476320\n");
}

#[test]
fn wrong_words_are_refused() {
    let refuse = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        let words = options::parse(&options::SQUEUE, &args, Order::Permute).expect("options");
        Wanted::of(&words, 0, nobody).expect_err("refused").text()
    };
    assert!(
        refuse(&["-t", "LOST"]).starts_with("squeue: error: Invalid job state specified: LOST\n")
    );
    assert!(refuse(&["-j", "bogus"]).starts_with("squeue: error: Invalid job id: bogus\n"));
    assert!(refuse(&["41"]).starts_with("squeue: error: Unrecognized option: 41\n"));
    assert!(refuse(&["-o", "%i", "-O", "JobID"]).contains("incompatible"));
}

#[test]
fn files_are_shown_as_the_head_tells_them() {
    let view = View { clock: made_up::clock(), cluster: "refc".into(), mebibytes: false };
    let job = made_up::array_task(148, 1, 150);
    assert_eq!(view.file("log/100%j", &job), "/home/user/work/log/100%j");
    assert_eq!(view.file("/tmp/%j", &job), "/tmp/%j");
    assert_eq!(view.file("", &job), "/dev/null");
}

#[test]
fn every_field_has_a_value_and_no_letter_two() {
    let view = View { clock: made_up::clock(), cluster: "refc".into(), mebibytes: false };
    let mut letters = std::collections::BTreeSet::new();
    for field in fields::FIELDS {
        for record in queue() {
            let _ = (field.value)(&record, &view);
        }
        assert!(field.letter == ' ' || letters.insert(field.letter), "{}", field.name);
    }
    let real = "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ";
    assert_eq!(letters, real.chars().collect());
}

#[test]
fn fields_that_are_none_are_told_and_do_not_fail() {
    assert_eq!(
        complaints(&wanted("-o %i%-6N")),
        "squeue: error: Invalid job format specification: -\n"
    );
    assert_eq!(
        complaints(&wanted("-s -O nonsense,StepID")),
        "squeue: error: Invalid job step format specification: nonsense\n"
    );
    assert_eq!(complaints(&wanted("-O JobID")), "");
    assert!(help_format().starts_with("account             accruetime "), "{}", help_format());
}

#[test]
fn sizes_stay_in_their_unit_where_that_is_wanted() {
    let mut job = made_up::running(146);
    job.memory_ask = pcluster_model::job::MemoryAsk::PerNode(2 << 30);
    assert_eq!(squeue("-h -o %m", vec![job.clone()]), "2G\n");
    assert_eq!(squeue("-h --noconvert -o %m", vec![job]), "2048M\n");
}

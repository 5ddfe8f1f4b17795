//! The reference's situations, replayed from made-up records.
use super::*;
use crate::accounting::table::help_format;
use crate::options::{self, Order};
use crate::words::made_up::{self, NOW_MS};

fn wanted_of(args: &[&str], uid: u32) -> Wanted {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let words = options::parse(&options::SACCT, &args, Order::Permute).expect("options");
    Wanted::of(&words, uid, &made_up::clock(), |_| None).expect("wanted")
}

fn sacct(args: &[&str], records: Vec<JobRecord>) -> String {
    page(&made_up::records(records), &wanted_of(args, 0), &made_up::clock())
}

fn refused(args: &[&str]) -> (String, u8) {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let words = options::parse(&options::SACCT, &args, Order::Permute).expect("options");
    let refusal = Wanted::of(&words, 0, &made_up::clock(), |_| None).expect_err("refused");
    (refusal.text(), refusal.code)
}

#[test]
fn the_plain_table_shows_a_job_and_its_script() {
    let expected = "\
JobID           JobName  Partition    Account  AllocCPUS      State ExitCode 
------------ ---------- ---------- ---------- ---------- ---------- -------- 
146                wrap       main       root          2    RUNNING      0:0 
146.batch         batch                  root          2    RUNNING      0:0 
";
    assert_eq!(sacct(&["-j", "146"], vec![made_up::running(146)]), expected);
}

#[test]
fn fields_say_what_the_reference_said() {
    let fields = "JobID,JobIDRaw,JobName,State,ExitCode,DerivedExitCode,Submit,Start,End,Elapsed,ElapsedRaw,NodeList,AllocCPUS,AllocTRES,ReqMem,Timelimit,Partition,Account,User,WorkDir";
    let page = sacct(&["-X", "-P", "-n", "-j", "146", "-o", fields], vec![made_up::running(146)]);
    assert_eq!(
        page,
        "146|146|wrap|RUNNING|0:0|0:0|2026-11-23T23:25:20|2026-11-23T23:25:20|Unknown|00:00:05|5|c1|2|billing=2,cpu=2,mem=200M,node=1|200M|00:05:00|main|root|root|/home/user/work\n"
    );
}

#[test]
fn time_that_a_job_stood_still_is_no_time_of_its_own() {
    let mut job = made_up::ended(9, "completed", Some(0), None);
    job.started_at_ms = job.ended_at_ms.map(|end| end - 100_000);
    job.suspended_ms = 65_000;
    let page = sacct(&["-X", "-P", "-n", "-j", "9", "-o", "Elapsed,Suspended"], vec![job]);
    assert_eq!(page, "00:00:35|00:01:05\n");
}

/// The lines of a job that ended like this.
fn end(word: &str, code: Option<i32>, signal: Option<i32>) -> String {
    sacct(
        &["-P", "-n", "-j", "9", "-o", "JobID,State,ExitCode"],
        vec![made_up::ended(9, word, code, signal)],
    )
}

#[test]
fn ends_read_as_on_the_reference() {
    assert_eq!(end("failed", Some(3), None), "9|FAILED|3:0\n9.batch|FAILED|3:0\n");
    assert_eq!(end("failed", None, Some(9)), "9|FAILED|0:9\n9.batch|CANCELLED|0:9\n");
    assert_eq!(end("timed_out", None, Some(15)), "9|TIMEOUT|0:0\n9.batch|CANCELLED|0:15\n");
    assert_eq!(end("cancelled", None, Some(15)), "9|CANCELLED by 0|0:0\n9.batch|CANCELLED|0:15\n");
    assert_eq!(end("cannot_run", None, None), "9|FAILED|0:53\n9.batch|CANCELLED|0:53\n");
}

#[test]
fn arrays_have_both_kinds_of_ids_and_a_pending_rest() {
    let task = |task, raw| JobRecord {
        task: Some(task),
        ..made_up::ended(raw, "completed", Some(0), None)
    };
    let records: Vec<JobRecord> = [(1, 181), (2, 182), (3, 180)]
        .into_iter()
        .map(|(index, raw)| JobRecord { job: 180, array: true, ..task(index, raw) })
        .collect();
    let fields = ["-P", "-n", "-j", "180", "-o", "JobID,JobIDRaw,State"];
    assert_eq!(
        sacct(&fields, records.clone()),
        "180_1|181|COMPLETED\n180_1.batch|181.batch|COMPLETED\n180_2|182|COMPLETED\n180_2.batch|182.batch|COMPLETED\n180_3|180|COMPLETED\n180_3.batch|180.batch|COMPLETED\n"
    );
    let one = ["-X", "-P", "-n", "-j", "180_2", "-o", "JobID"];
    assert_eq!(sacct(&one, records.clone()), "180_2\n");
    let raw = ["-X", "-P", "-n", "-j", "181", "-o", "JobID"];
    assert_eq!(sacct(&raw, records), "180_1\n");
    let rest = vec![made_up::array_rest(148, "2-9", Some(2))];
    let page = sacct(
        &["-X", "-P", "-n", "-o", "JobID,State,NodeList,Start,NNodes,AllocCPUS"],
        rest.clone(),
    );
    assert_eq!(page, "148_[2-9%2]|PENDING|None assigned|Unknown|1|1\n");
    assert_eq!(sacct(&["-X", "-n", "--array", "-P", "-o", "JobID"], rest).lines().count(), 8);
}

#[test]
fn steps_carry_what_they_used() {
    let mut job = made_up::ended(146, "completed", Some(0), None);
    job.steps = vec![made_up::step(0)];
    let fields = "JobID,JobName,NTasks,TotalCPU,MaxRSS,AveCPU,AllocTRES,State";
    let page = sacct(&["-P", "-n", "-j", "146", "-o", fields], vec![job.clone()]);
    assert_eq!(
        page,
        "146|wrap||00:01.234|||billing=2,cpu=2,mem=200M,node=1|COMPLETED\n\
         146.batch|batch|1|00:00.230|12345K|00:00:00|cpu=2,mem=200M,node=1|COMPLETED\n\
         146.0|hostname|2|00:01.004|2M|00:00:00|cpu=2,mem=200M,node=1|COMPLETED\n"
    );
    job.steps[0].usage = Some(made_up::step_usage());
    let fields =
        "JobID,MaxRSS,MaxRSSTask,AveRSS,MaxVMSize,AveVMSize,MinCPU,MinCPUTask,TRESUsageInMax";
    let page = sacct(&["-P", "-n", "-j", "146.0", "-o", fields], vec![job.clone()]);
    assert_eq!(page, "146.0|2M|1|1536K|8M|6M|00:00:00|0|mem=2M,vmem=8M\n");
    let step = ["-n", "-P", "-j", "146.0", "-o", "JobID,Reason"];
    assert_eq!(sacct(&step, vec![job.clone()]), "146.0|\n");
    let units = ["-n", "-P", "-j", "146.batch", "--units=M", "-o", "MaxRSS"];
    assert_eq!(sacct(&units, vec![job]), "12.06M\n");
}

#[test]
fn tables_are_cut_and_parted_as_asked() {
    let job = || vec![made_up::ended(7, "cancelled", None, None)];
    assert_eq!(sacct(&["-X", "-n", "-o", "state"], job()), "CANCELLED+ \n");
    assert_eq!(
        sacct(&["-X", "-n", "-o", "jobid,state%20"], job()),
        format!("{:<12} {:>20} \n", "7", "CANCELLED by 0")
    );
    assert_eq!(sacct(&["-X", "-n", "-o", "nodelist%-8"], job()), "c1       \n");
    assert_eq!(sacct(&["-X", "-p", "-o", "JobID,ExitCode"], job()), "JobID|ExitCode|\n7|0:0|\n");
    assert_eq!(
        sacct(&["-X", "-P", "--delimiter=;", "-b"], job()),
        "JobID;State;ExitCode\n7;CANCELLED by 0;0:0\n"
    );
}

#[test]
fn what_reframe_asks_is_answered_in_its_form() {
    let mut clock = made_up::clock();
    clock.format = "%s".into();
    let wanted = wanted_of(
        &["-S", "2026-11-23", "-P", "-j", "9,10", "-o", "jobid,state,exitcode,end,nodelist"],
        0,
    );
    let records = vec![made_up::ended(9, "completed", Some(0), None), made_up::pending(10)];
    let text = page(&made_up::records(records), &wanted, &clock);
    assert_eq!(
        text,
        "JobID|State|ExitCode|End|NodeList\n9|COMPLETED|0:0|1795476322|c1\n9.batch|COMPLETED|0:0|1795476322|c1\n10|PENDING|0:0|Unknown|None assigned\n"
    );
}

#[test]
fn names_of_fields_are_listed_and_every_one_has_a_value() {
    let text = help_format(fields::FIELDS);
    assert!(
        text.starts_with(
            "Account             AdminComment        AllocCPUS           AllocNodes         \n"
        ),
        "{text}"
    );
    let names: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(names.len(), fields::FIELDS.len());
    // As one client asks: all of them, by the names that were listed.
    let format = names.join(",");
    let mut job = made_up::ended(146, "completed", Some(0), None);
    job.steps = vec![made_up::step(0)];
    let page = sacct(&["--parsable", "--jobs=146", &format!("--format={format}")], vec![job]);
    let counts: Vec<usize> = page.lines().map(|line| line.split('|').count()).collect();
    assert_eq!(counts, vec![names.len() + 1; 4]);
    assert!(page.starts_with("Account|AdminComment|AllocCPUS|"), "{page}");
    assert_eq!(wanted_of(&["-l"], 0).columns.len(), fields::LONG.split(',').count());
}

#[test]
fn the_window_is_today_unless_something_else_is_said() {
    let midnight = NOW_MS - (23 * 3600 + 25 * 60 + 25) * 1000;
    let window =
        |args: &[&str]| (wanted_of(args, 0).window.from_ms, wanted_of(args, 0).window.to_ms);
    assert_eq!(window(&[]), (midnight, i64::MAX));
    assert_eq!(window(&["-j", "1"]), (0, i64::MAX));
    assert_eq!(window(&["-s", "R"]), (NOW_MS, i64::MAX));
    assert_eq!(window(&["-s", "CD", "-S", "2026-11-23"]), (midnight, midnight));
    assert_eq!(
        window(&["-S", "2026-11-22", "-E", "2026-11-23"]),
        (midnight - 86_400_000, midnight)
    );
    assert_eq!(window(&["-S", "2026-11-23", "-E", "now"]), (midnight, i64::MAX));
}

#[test]
fn states_are_those_within_the_window() {
    let records = || {
        vec![
            made_up::ended(1, "completed", Some(0), None),
            made_up::running(2),
            made_up::pending(3),
        ]
    };
    let ids = |args: &[&str]| {
        let args = [args, &["-X", "-n", "-P", "-o", "JobID"]].concat();
        sacct(&args, records()).replace('\n', " ")
    };
    assert_eq!(ids(&[]), "1 2 3 ");
    assert_eq!(ids(&["-s", "R"]), "2 ");
    assert_eq!(ids(&["-s", "PD,R"]), "2 3 ");
    assert_eq!(ids(&["-s", "CD", "-S", "midnight", "-E", "now"]), "1 ");
    assert_eq!(ids(&["-S", "2026-11-22", "-E", "2026-11-23"]), "");
    assert_eq!(ids(&["-S", "now-1second"]), "2 3 ");
}

#[test]
fn users_are_ones_own_unless_others_are_meant() {
    assert_eq!(wanted_of(&[], 1000).users, Some(vec!["1000".to_owned()]));
    assert_eq!(wanted_of(&["-a"], 1000).users, None);
    assert_eq!(wanted_of(&["-j", "1"], 1000).users, None);
    assert_eq!(wanted_of(&["-u", "-1"], 1000).users, None);
    assert_eq!(wanted_of(&["-u", "ana", "-a"], 1000).users, None);
    assert_eq!(wanted_of(&["-a", "-u", "ana"], 1000).users, Some(vec!["ana".to_owned()]));
    assert_eq!(wanted_of(&["-u", "ana,bert"], 1000).query().users.as_deref(), Some("ana,bert"));
    assert_eq!(
        wanted_of(&["--name", "x", "--clusters", "all"], 0).query().names.as_deref(),
        Some("x")
    );
    let query = wanted_of(&["-j", "1", "-j", "2,3_4", "-D"], 0).query();
    assert_eq!((query.ids.as_deref(), query.attempts, query.ended), (Some("1,2,3_4"), true, true));
}

#[test]
fn earlier_attempts_are_requeued_rows() {
    let mut first = made_up::ended(179, "failed", None, None);
    first.outcome = None;
    first.requeued = Some("requeued by ana".into());
    let records = vec![first, made_up::pending(179)];
    let page = sacct(&["-D", "-X", "-n", "-P", "-j", "179", "-o", "JobID,State"], records);
    assert_eq!(page, "179|REQUEUED\n179|PENDING\n");
}

#[test]
fn an_unknown_id_is_no_error_and_a_word_that_is_none_is() {
    assert_eq!(sacct(&["-j", "99999", "-n"], Vec::new()), "");
    let fatal = "sacct: fatal: Bad job/step specified: bogus\n".to_owned();
    assert_eq!(refused(&["-n", "-P", "-j", "bogus"]), (fatal, 1));
    assert!(
        refused(&["-o", "jobidd"]).0.starts_with(
            "sacct: error: Invalid field requested: \"jobidd\"\nhint: did you mean JobID"
        ),
        "{:?}",
        refused(&["-o", "jobidd"])
    );
    assert!(refused(&["-S", "soon"]).0.starts_with("Invalid time specification (pos=0): soon\n"));
    assert!(refused(&["-S", "now", "-E", "now-1hour"]).0.contains("is after end time"));
    assert!(
        refused(&["-s", "LOST"]).0.starts_with("sacct: fatal: unrecognized job state value 'LOST'")
    );
}

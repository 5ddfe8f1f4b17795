//! The reference's situations, replayed from made-up records.
use super::*;
use crate::words::made_up;

fn show(ids: &str, records: Vec<JobRecord>, look: Look) -> String {
    let ids = jobid::list(ids).expect("ids");
    jobs(&made_up::records(records), &ids, &made_up::clock(), look).expect("a page")
}

fn lines() -> Look {
    Look::default()
}

fn one_line() -> Look {
    Look { one_line: true, ..Look::default() }
}

#[test]
fn a_running_job_has_every_key_in_its_place() {
    let page = show("146", vec![made_up::running(146)], lines());
    let expected = "\
JobId=146 JobName=wrap
   UserId=root(0) GroupId=root(0) MCS_label=N/A
   Priority=4294901614 Nice=0 Account=root QOS=normal
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:00:05 TimeLimit=00:05:00 TimeMin=N/A
   SubmitTime=2026-11-23T23:25:20 EligibleTime=2026-11-23T23:25:20
   AccrueTime=2026-11-23T23:25:20
   StartTime=2026-11-23T23:25:20 EndTime=2026-11-23T23:30:20 Deadline=N/A
   SuspendTime=None SecsPreSuspend=0 LastSchedEval=2026-11-23T23:25:20 Scheduler=Main
   Partition=main AllocNode:Sid=login:0
   ReqNodeList=(null) ExcNodeList=(null)
   NodeList=c1
   BatchHost=c1
   NumNodes=1 NumCPUs=2 NumTasks=2 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   TRES=cpu=2,mem=200M,node=1,billing=2
   Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=*
   MinCPUsNode=1 MinMemoryNode=200M MinTmpDiskNode=0
   Features=(null) DelayBoot=00:00:00
   OverSubscribe=OK Contiguous=0 Licenses=(null) Network=(null)
   Command=(null)
   WorkDir=/home/user/work
   StdErr=/home/user/work/slurm-146.out
   StdIn=/dev/null
   StdOut=/home/user/work/slurm-146.out
   Power=
   

";
    assert_eq!(page, expected);
}

#[test]
fn details_say_what_each_node_gives_on_one_line() {
    let look = Look { detail: true, ..one_line() };
    let page = show("146", vec![made_up::running(146)], look);
    assert_eq!(page.lines().count(), 1);
    assert!(page.contains(" ExitCode=0:0 DerivedExitCode=0:0 RunTime="), "{page}");
    assert!(page.contains(" JOB_GRES=(null)   Nodes=c1 Mem=200 GRES= MinCPUsNode=1 "), "{page}");
}

#[test]
fn arrays_show_the_waiting_rest_and_each_task() {
    let records = || {
        vec![
            made_up::array_rest(148, "2-9", Some(2)),
            made_up::array_task(148, 0, 149),
            made_up::array_task(148, 1, 150),
        ]
    };
    let firsts = |page: &str| -> Vec<String> {
        page.lines().filter(|line| line.starts_with("JobId=")).map(str::to_owned).collect()
    };
    assert_eq!(
        firsts(&show("148", records(), lines())),
        [
            "JobId=148 ArrayJobId=148 ArrayTaskId=2-9%2 ArrayTaskThrottle=2 JobName=wrap",
            "JobId=149 ArrayJobId=148 ArrayTaskId=0 ArrayTaskThrottle=2 JobName=wrap",
            "JobId=150 ArrayJobId=148 ArrayTaskId=1 ArrayTaskThrottle=2 JobName=wrap",
        ]
    );
    assert_eq!(
        firsts(&show("148_9", records(), lines())),
        ["JobId=148 ArrayJobId=148 ArrayTaskId=9 ArrayTaskThrottle=2 JobName=wrap"]
    );
    let page = show("148_9", records(), lines());
    assert!(page.contains("JobState=PENDING Reason=JobArrayTaskLimit "), "{page}");
    assert!(page.contains("StartTime=Unknown EndTime=Unknown Deadline=N/A"), "{page}");
    assert!(page.contains("   NodeList=\n   NumNodes=1 NumCPUs=1 "), "{page}");
}

#[test]
fn an_unknown_id_is_refused_and_an_empty_queue_is_not() {
    let list = made_up::records(Vec::new());
    let ids = jobid::list("99999").expect("ids");
    let refused = jobs(&list, &ids, &made_up::clock(), lines()).expect_err("unknown");
    assert_eq!(
        (refused.text().as_str(), refused.code),
        ("slurm_load_jobs error: Invalid job id specified\n", 1)
    );
    assert_eq!(show("", Vec::new(), lines()), "No jobs in the system\n");
}

#[test]
fn cancelled_jobs_say_the_signal() {
    let page = show("146", vec![made_up::ended(146, "cancelled", None, Some(15))], lines());
    assert!(page.contains("JobState=CANCELLED Reason=None"), "{page}");
    assert!(page.contains("ExitCode=0:15\n"), "{page}");
}

#[test]
fn nodes_have_every_key() {
    let page = nodes(&made_up::pools(), Some("c1"), &made_up::clock(), lines()).expect("node");
    let expected = "\
NodeName=c1 Arch=x86_64 CoresPerSocket=4 
   CPUAlloc=3 CPUEfctv=4 CPUTot=4 CPULoad=N/A
   AvailableFeatures=x86_64
   ActiveFeatures=x86_64
   Gres=(null)
   NodeAddr=c1 NodeHostName=c1 Version=23.11.10
   OS=Linux 
   RealMemory=6000 AllocMem=300 FreeMem=N/A Sockets=1 Boards=1
   State=MIXED ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A
   Partitions=main,short 
   BootTime=2026-11-23T22:29:34 SlurmdStartTime=2026-11-23T22:29:34
   LastBusyTime=2026-11-23T23:25:25
   CfgTRES=cpu=4,mem=6000M,billing=4
   AllocTRES=cpu=3,mem=300M
   CapWatts=n/a
   CurrentWatts=0 AveWatts=0
   ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s

";
    assert_eq!(page, expected);
    let all = nodes(&made_up::pools(), None, &made_up::clock(), one_line()).expect("nodes");
    assert_eq!(all.lines().count(), 3);
    assert!(all.starts_with("NodeName=c1 Arch=x86_64 CoresPerSocket=4  CPUAlloc=3 "), "{all}");
    let missing = nodes(&made_up::pools(), Some("c9"), &made_up::clock(), lines());
    assert_eq!(missing.expect_err("missing").text(), "Node c9 not found\n");
}

#[test]
fn partitions_have_every_key() {
    let page = partitions(&made_up::pools(), Some("main"), lines()).expect("partition");
    insta::assert_snapshot!(page, @r"
    PartitionName=main
       AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL
       AllocNodes=ALL Default=YES QoS=N/A
       DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO
       MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED
       Nodes=c[1-3]
       PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO
       OverTimeLimit=NONE PreemptMode=OFF
       State=UP TotalCPUs=12 TotalNodes=3 SelectTypeParameters=NONE
       JobDefaults=(null)
       DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED
       TRES=cpu=12,mem=18000M,node=3,billing=12
    ");
    let short = partitions(&made_up::pools(), Some("short"), one_line()).expect("partition");
    assert!(short.contains(" Default=NO ") && short.contains(" MaxTime=00:30:00 "), "{short}");
    assert!(partitions(&made_up::pools(), Some("nope"), lines()).is_err());
}

#[test]
fn settings_that_clients_read_are_there() {
    let page = places::config(&made_up::pools(), &made_up::clock());
    for line in [
        "Configuration data as of 2026-11-23T23:25:25",
        "ClusterName             = refc",
        "KillWait                = 5 sec",
        "MaxArraySize            = 1001",
        "MinJobAge               = 300 sec",
        "SLURM_VERSION           = 23.11.10",
    ] {
        assert!(page.lines().any(|one| one == line), "{line}\n{page}");
    }
}

#[test]
fn lists_of_nodes_need_no_head() {
    let said = |entity: &str, list: &str| without_head(entity, Some(list)).expect("a list");
    assert_eq!(said("hostnames", "c[1-2],d07"), "c1\nc2\nd07\n");
    assert_eq!(said("hostname", "None"), "None\n");
    assert_eq!(said("hostlist", "c1,c2,c3,d7"), "c[1-3],d7\n");
    assert_eq!(said("hostlistsorted", "c3,c1,c2"), "c[1-3]\n");
    assert_eq!(without_head("nonsense", None).expect_err("none").code, 1);
}

#[test]
fn only_steps_that_run_are_shown() {
    let mut job = made_up::running(146);
    job.steps =
        vec![made_up::step(0), pcluster_api::StepRecord { ended_at_ms: None, ..made_up::step(1) }];
    let page = steps(&made_up::records(vec![job]), &[], &made_up::clock(), one_line());
    assert_eq!(
        page,
        "StepId=146.1 UserId=0 StartTime=2026-11-23T23:25:18 TimeLimit=00:05:00 State=RUNNING Partition=main NodeList=c1 Nodes=1 CPUs=2 Tasks=2 Name=hostname Network=(null) TRES=cpu=2,node=1 ResvPorts=(null) CPUFreqReq=Default Dist=Block\n"
    );
}

//! The reference's situations, replayed from made-up pools.
use super::*;
use crate::options::{self, Order};
use crate::words::made_up;

fn wanted(args: &[&str]) -> Wanted {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let words = options::parse(&options::SINFO, &args, Order::Permute).expect("options");
    Wanted::of(&words, |_| None).expect("wanted")
}

fn sinfo_of(list: &PoolList, args: &[&str]) -> String {
    page(list, &wanted(args), &made_up::clock())
}

fn sinfo(args: &[&str]) -> String {
    sinfo_of(&made_up::pools(), args)
}

#[test]
fn the_plain_table_parts_nodes_by_state() {
    insta::assert_snapshot!(sinfo(&[]), @r"
    PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST
    main*        up   infinite      2    mix c[1-2]
    main*        up   infinite      1   idle c3
    short        up      30:00      1    mix c1
    ");
    insta::assert_snapshot!(sinfo(&["-s"]), @r"
    PARTITION AVAIL  TIMELIMIT   NODES(A/I/O/T) NODELIST
    main*        up   infinite          2/1/0/3 c[1-3]
    short        up      30:00          1/0/0/1 c1
    ");
}

#[test]
fn nodes_have_lines_of_their_own() {
    let expected = "\
Mon Nov 23 23:25:25 2026
NODELIST   NODES PARTITION       STATE CPUS    S:C:T MEMORY TMP_DISK WEIGHT AVAIL_FE REASON              
c1             1     main*       mixed 4       1:4:1   6000        0      1   x86_64 none                
c1             1     short       mixed 4       1:4:1   6000        0      1   x86_64 none                
c2             1     main*       mixed 4       1:4:1   6000        0      1   x86_64 none                
c3             1     main*        idle 4       1:4:1   6000        0      1   x86_64 none                
";
    assert_eq!(sinfo(&["-N", "-l"]), expected);
}

#[test]
fn formats_say_what_the_reference_said() {
    assert_eq!(sinfo(&["-o", "%P"]), "PARTITION\nmain*\nshort\n");
    let expected = "PARTITION GRES TIMELIMIT PRIO_TIER CPUS MEMORY\nmain* (null) infinite 1 4 6000\nshort (null) 30:00 1 4 6000\n";
    assert_eq!(sinfo(&["-a", "-o", "%P %G %l %p %c %m"]), expected);
    let expected = "SOCKETS CORES THREADS CPUS NODES GRES\n1 4 1 4 3 (null)\n";
    assert_eq!(sinfo(&["-e", "-o", "%X %Y %Z %c %D %G"]), expected);
    let expected = "main|up|infinite|2|mix|4/4/0/8|c[1-2]\nmain|up|infinite|1|idle|0/4/0/4|c3\nshort|up|30:00|1|mix|3/1/0/4|c1\n";
    assert_eq!(sinfo(&["-h", "-o", "%R|%a|%l|%D|%t|%C|%N"]), expected);
    let names =
        sinfo(&["-h", "-p", "short", "-O", "PartitionName:8,StateLong:.7,CPUsState:|,Gres"]);
    assert_eq!(names, format!("short     mixed3/1/0/4|{:<20}\n", "(null)"));
}

#[test]
fn sizes_that_differ_are_shown_by_the_least_or_apart() {
    let mut list = made_up::pools();
    list.pools[0].nodes[2].cpus = 8;
    assert_eq!(sinfo_of(&list, &["-h", "-p", "main", "-o", "%c %D"]), "4+ 3\n");
    assert_eq!(sinfo_of(&list, &["-h", "-e", "-p", "main", "-o", "%c %D"]), "4 2\n8 1\n");
}

#[test]
fn nodes_that_could_be_started_are_idle_and_a_pool_without_any_has_a_line() {
    let mut list = made_up::pools();
    for node in &mut list.pools[0].nodes {
        *node = PoolNode { state: "none".into(), ..made_up::node(&node.name) };
    }
    list.pools[1].nodes.clear();
    insta::assert_snapshot!(sinfo_of(&list, &["-h"]), @r"
    main*        up   infinite      3   idle c[1-3]
    short        up      30:00      0    n/a 
    ");
}

#[test]
fn filters_choose_nodes() {
    assert_eq!(sinfo(&["-h", "-t", "idle", "-o", "%N"]), "c3\n");
    assert_eq!(sinfo(&["-h", "-n", "c[2-3]", "-o", "%n"]), "c2\nc3\n");
    assert_eq!(sinfo(&["-h", "-p", "nope"]), "");
    assert_eq!(sinfo(&["-h", "-d"]), "");
    let mut list = made_up::pools();
    list.pools[0].nodes[2].state = "draining".into();
    list.pools[0].nodes[2].why = Some("drained by root".into());
    insta::assert_snapshot!(sinfo_of(&list, &["-R"]), @r"
    REASON               USER      TIMESTAMP           NODELIST
    drained by root      Unknown   Unknown             c3
    ");
}

#[test]
fn wrong_words_are_refused() {
    let refuse = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        let words = options::parse(&options::SINFO, &args, Order::Permute).expect("options");
        Wanted::of(&words, |_| None).expect_err("refused").text()
    };
    let refused = refuse(&["-t", "lost"]);
    assert!(refused.starts_with("sinfo: error: Bad state string: \"lost\"\n"), "{refused}");
    assert!(refuse(&["-n", "c["]).starts_with("sinfo: error: "));
}

#[test]
fn every_letter_of_the_real_one_is_known() {
    let known: std::collections::BTreeSet<char> =
        fields::FIELDS.iter().map(|field| field.letter).filter(|letter| *letter != ' ').collect();
    assert_eq!(known, "aAbBcCdDeEfFgGhHiIlLmMnNoOpPrRsStTuUvVwXYZz".chars().collect());
}

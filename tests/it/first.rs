//! From zero to zero: a job is submitted, a node appears, runs it and goes, and the bill adds up.
use pcluster_tests::{Cluster, meter};

#[test]
fn a_node_appears_for_the_first_job_and_goes_and_the_bill_adds_up() {
    let cluster = Cluster::new("first");
    assert!(cluster.live_nodes().is_empty(), "no work, no node");
    let text = "echo \"hello from $PCLUSTER_NODE\"; test -w \"$TMPDIR\" && sleep 0.3; exit 3";
    let id = cluster.submit(&["-J", "hello"], text);
    assert_eq!(id, "1");
    assert_eq!(cluster.wait(&id), 3);
    assert_eq!(cluster.file("pcluster-1.out"), "hello from compute-1\n");
    assert_eq!(cluster.live_nodes().len(), 1, "the node idles for a while");
    cluster.until_no_nodes();
    assert_eq!(cluster.ok(&["logs", &id]).out, "hello from compute-1\n", "after the node has gone");
    let row = cluster.json(&["history"])["jobs"][0]["job"].clone();
    assert_eq!(row["name"], "hello", "{row}");
    assert_eq!(row["outcome"]["exit_code"], 3, "{row}");
    let bill = meter::check(&cluster);
    assert_eq!((bill["spans"].as_u64(), bill["boots"].as_u64()), (Some(1), Some(1)), "{bill}");
    assert!(bill["buckets"]["job_micro_usd"].as_i64().unwrap() > 250, "0.3 s at $3.6/h: {bill}");
    cluster.down(&[]);
}

#[test]
fn two_jobs_fill_a_node_and_the_buckets_still_sum_to_the_meter() {
    let compute = "cpus = 2, memory = \"1 GB\", max = 1, idle_timeout = \"0\"";
    let cluster = Cluster::with("sums", pcluster_tests::Setup::compute(compute));
    let (a, b) = (cluster.submit(&[], "sleep 0.7"), cluster.submit(&[], "sleep 1.3"));
    assert_eq!((cluster.wait(&a), cluster.wait(&b)), (0, 0));
    cluster.until_no_nodes();
    let bill = meter::check(&cluster);
    assert!(bill["buckets"]["idle_busy_micro_usd"].as_i64().unwrap() > 0, "{bill}");
    let by_job = cluster.json(&["cost", "--by", "job"]);
    let rows = by_job["by"].as_array().unwrap();
    let jobs: i64 = rows.iter().map(|row| row["cost_micro_usd"].as_i64().unwrap()).sum();
    assert_eq!(rows.len(), 2, "{by_job}");
    assert_eq!(jobs, bill["buckets"]["job_micro_usd"].as_i64().unwrap(), "{by_job}");
    cluster.down(&[]);
}

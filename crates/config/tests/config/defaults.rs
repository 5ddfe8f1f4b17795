//! What a short file means: the defaults of the product, and where explain says they are from.

use crate::common::{machine, read, root, source};
use pcluster_config::{
    Level, Machine, Origin, Parsed, Source, check_summary, default_name, explain, explain_json,
    parse, render_summary, up_refusals,
};
use pcluster_model::config::{Config, Pool, ShareSource, SpotUse};
use pcluster_model::{DurationMs, MicroUsd, PoolName, Price};

fn config(text: &str) -> Config {
    let parsed = read(text);
    assert!(parsed.problems.is_empty(), "{:#?}", parsed.problems);
    parsed.config.expect("no problem")
}

fn pool(text: &str) -> Pool {
    config(text).pools.remove(0)
}

fn value<'p>(parsed: &'p Parsed, path: &str) -> &'p pcluster_config::EffectiveValue {
    parsed.effective.iter().find(|value| value.path == path).expect(path)
}

#[test]
fn one_word_is_a_whole_cluster() {
    let config = config("provider = \"process\"");
    assert_eq!(config.name, "ana-s-project");
    assert!(config.root_jobs, "process alone takes root's jobs");
    assert_eq!(config.zone_offset_ms, 3_600_000);
    let pool = config.default_pool().expect("there");
    assert_eq!(pool.name, PoolName::from("compute"));
    let names: Vec<&str> = pool.shapes.iter().map(|shape| shape.name.as_str()).collect();
    assert_eq!(names, ["1c", "2c", "4c"]);
    assert_eq!((pool.min, pool.max, pool.max_cpus), (0, 4, Some(4)));
    // 8 GB less 5 % and 256 MB, by CPU.
    let usable = (8u64 << 30) - (8u64 << 30) / 20 - (256 << 20);
    assert_eq!(pool.shapes[0].usable().memory_bytes, usable / 4);
    assert_eq!(pool.shapes[2].usable().memory_bytes, usable);
    assert_eq!(pool.shapes[0].price, Some(Price::ZERO));
    assert_eq!(pool.idle_timeout_ms, DurationMs::from_secs(60));
    assert_eq!(pool.default_time_ms, None);
    assert_eq!(pool.shares[0].path, "/");
    assert_eq!(pool.image, "host");
    assert!(config.image("host").is_some());
}

#[test]
fn an_odd_machine_has_its_own_size_last() {
    let parsed = parse("provider = \"process\"", &source(), &Machine { cpus: 6, ..machine() });
    let config = parsed.config.expect("right");
    let cpus: Vec<u32> = config.pools[0].shapes.iter().map(|shape| shape.total.cpus).collect();
    assert_eq!(cpus, [1, 2, 4, 6]);
}

#[test]
fn explicit_sizes_win_and_say_so_once() {
    let text = "provider = \"process\"\ncompute = { cpus = 2, memory = \"2 GB\", max = 3 }\n";
    let pool = pool(text);
    assert_eq!((pool.max, pool.max_cpus), (3, None));
    assert_eq!(pool.shapes.len(), 1);
    assert_eq!(pool.shapes[0].usable().memory_bytes, 2 << 30, "all that was asked for");
    let notes = read(text).notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].text.contains("6 CPUs promised on a machine of 4"), "{notes:?}");
    assert_eq!(notes[0].level, Level::Note);
}

#[test]
fn homes_are_shared_on_machines_that_start_bare_unless_the_file_says_local() {
    let of = |storage: &str| {
        let pool = pool(&format!("provider = \"vm\"\nstorage = {{ {storage} }}\n"));
        let paths = pool.shares.iter().map(|share| share.path.clone()).collect::<Vec<_>>();
        (paths.join(" "), pool.local_home)
    };
    assert_eq!(of("home = \"shared\""), ("/shared /home".into(), false));
    assert_eq!(of("home = \"local\""), ("/shared".into(), true));
    assert_eq!(of("shared = \"/home\""), ("/home".into(), false), "it is that already");
    assert_eq!(of("shared = \"/homes\""), ("/homes /home".into(), false));
    assert!(!pool("provider = \"process\"\nstorage = { home = \"local\" }\n").local_home);
}

#[test]
fn cpus_without_a_maximum_fill_the_machine() {
    let pool = pool("provider = \"process\"\ncompute = { cpus = 2 }\n");
    assert_eq!(pool.max, 2);
    assert!(read("provider = \"process\"\ncompute = { cpus = 2 }\n").notes.is_empty());
}

#[test]
fn a_narrower_shared_path_refuses_nothing_on_process() {
    let pool = pool("provider = \"process\"\nstorage = { shared = \"~/data/\" }\n");
    let paths: Vec<&str> = pool.shares.iter().map(|share| share.path.as_str()).collect();
    assert_eq!(paths, ["/home/ana/data", "/"]);
}

#[test]
fn small_timings_for_tests() {
    let text = "provider = \"process\"\n\
        compute = { idle_timeout = \"200 ms\", lost_grace = \"1 s\", boot_timeout = \"2 s\", boot_limit = \"3 s\" }\n\
        [head]\nsettle = \"0\"\nheartbeat = \"100 ms\"\nsilent_after = \"500 ms\"\norphan_after = \"1 s\"\n\
        report_hold = \"2 s\"\norphan_grace = \"1 s\"\nsweep = \"300 ms\"\nterm_grace = \"1 s\"\n";
    let config = config(text);
    assert_eq!(config.head.heartbeat_ms, DurationMs(100));
    assert_eq!(config.head.settle_ms, DurationMs(0));
    assert_eq!(config.term_grace_ms, DurationMs(1000));
    assert_eq!(config.pools[0].idle_timeout_ms, DurationMs(200));
    assert_eq!(config.pools[0].lost_grace_busy_ms, Some(DurationMs(1000)));
    let never = pool("provider = \"process\"\ncompute = { lost_grace = \"never\" }\n");
    assert_eq!(never.lost_grace_idle_ms, None);
}

#[test]
fn two_pools_inherit_the_five_lines() {
    let text = "provider = \"process\"\nimage = \"tools\"\nstorage = { local = \"1 GB\" }\n\
        [pools.small]\ncpus = 1\n[pools.big]\ncpus = 4\ndefault = true\nimage = \"host\"\n\
        [images.tools]\ndirectory = \"images/tools\"\n";
    let parsed = read(text);
    let config = parsed.config.clone().expect("right");
    assert_eq!(config.default_pool().expect("there").name, PoolName::from("big"));
    assert_eq!(config.pools[0].image, "tools");
    assert_eq!(config.pools[1].image, "host");
    assert_eq!(config.pools[1].local_bytes, 1 << 30);
    let image = config.image("tools").expect("there");
    let folder = "/srv/Ana's Project/images/tools";
    assert_eq!(image.source, pcluster_model::config::ImageSource::Directory(folder.into()));
    let origin = &value(&parsed, "pools.small.image").origin;
    assert_eq!(*origin, Origin::Inherited { line: 2, key: "image".into() });
    assert_eq!(value(&parsed, "pools.big.image").origin, Origin::File { line: 9 });
}

#[test]
fn the_five_lines_of_the_product() {
    let text = "provider = \"ec2\"\nhead = { type = \"t3.large\" }\n\
        compute = { types = [\"c6i.4xlarge\", \"c7i.4xlarge\"], max = 1000 }\nimage = \"genomics\"\n\
        storage = { shared = \"/shared\", shared_size = \"500 GB\", local = \"100 GB\" }\n";
    let config = config(text);
    let pool = &config.pools[0];
    assert_eq!(pool.shapes[0].total.cpus, 16);
    // 256 GB less 5 % and 0.25 is 242, as the screens say of a larger one.
    assert_eq!(pool.shapes[0].reserve_bytes, (32u64 << 30) / 20 + (256 << 20));
    assert_eq!(pool.shapes[0].spot_price, Some(Price(320_800)));
    assert_eq!(pool.default_time_ms, Some(DurationMs::from_hours(24)));
    assert_eq!(pool.shares[0].source, ShareSource::Head);
    let paths: Vec<&str> = pool.shares.iter().map(|share| share.path.as_str()).collect();
    assert_eq!((paths, pool.local_home), (vec!["/shared", "/home"], false));
    assert_eq!(pool.minimum_billing_ms, DurationMs::from_secs(60));
    assert!(!config.root_jobs);
}

#[test]
fn cores_instead_of_threads() {
    let text = "provider = \"ec2\"\ncompute = { types = [\"c6in.32xlarge\", \"c7g.large\"], smt = false }\n";
    let parsed = read(text);
    // Two instruction sets cannot share one image.
    assert!(parsed.problems[0].message.contains("is aarch64"), "{:?}", parsed.problems);
    let pool = pool("provider = \"ec2\"\ncompute = { types = [\"c6in.32xlarge\"], smt = false }\n");
    assert_eq!(pool.shapes[0].total.cpus, 64);
}

#[test]
fn the_cost_screen_of_the_design() {
    let text = "provider = \"ec2\"\nhead = { type = \"t3.large\" }\n\
        compute = { types = [\"c6i.4xlarge\", \"c6a.4xlarge\"], max = 40 }\nimage = \"debian-12\"\n\
        storage = { shared_size = \"500 GB\" }\n[pools.gpu]\ntypes = [\"g5.2xlarge\", \"g6.2xlarge\"]\nmax = 8\n\
        [pools.highmem]\ntypes = [\"r6i.8xlarge\"]\nmax = 2\n[budget]\nmonth = \"$500\"\n";
    let shown = render_summary(&check_summary(&config(text)), "cluster.toml", 80);
    let expected = "\
cluster.toml is right
  at rest     $0.14/h   t3.large $0.083, 500 GB gp3 $0.055
  at most    $41.07/h   40 x c6i.4xlarge, 8 x g5.2xlarge, 2 x r6i.8xlarge
  in a month $500.00    the budget stops launches there
";
    assert_eq!(shown, expected);
}

#[test]
fn a_minimum_costs_at_rest() {
    let text =
        "provider = \"process\"\ncompute = { cpus = 1, price = \"$0.05/h\", min = 1, max = 3 }\n";
    let summary = check_summary(&config(text));
    assert_eq!(summary.rest_per_hour, Price(50_000));
    assert_eq!(summary.most_per_hour, Price(150_000));
    assert_eq!(summary.month, MicroUsd(109_500_000));
}

#[test]
fn an_unknown_price_is_a_warning_and_under_a_budget_an_error() {
    let text = "provider = \"ec2\"\ncompute = { types = [\"x9.huge\"], max = 2 }\n";
    let parsed = read(text);
    let warning = parsed.notes.iter().find(|note| note.level == Level::Warning).expect("warned");
    assert_eq!(
        warning.text,
        "no price known for x9.huge in us-east-1: add price = \"$…/h\" or [shapes.\"x9.huge\"]"
    );
    let summary = check_summary(&parsed.config.expect("right"));
    assert_eq!(summary.most_unknown, 1);
    let shown = render_summary(&summary, "cluster.toml", 80);
    assert!(shown.contains("+ ?"), "{shown}");
    let budget = read(&format!("{text}[budget]\nmonth = \"$5\"\n"));
    assert!(budget.problems[0].message.contains("no price known for x9.huge"));
    let priced = "provider = \"ec2\"\ncompute = { types = [\"x9.huge\"], price = \"$9/h\" }\n[budget]\nmonth = \"$5\"\n";
    assert_eq!(config(priced).pools[0].shapes[0].price, Some(Price(9_000_000)));
}

#[test]
fn a_region_without_prices_says_so() {
    let text = "provider = \"ec2\"\n[ec2]\nregion = \"eu-central-1\"\n";
    let warnings: Vec<String> = read(text).notes.into_iter().map(|note| note.text).collect();
    assert!(
        warnings
            .iter()
            .any(|text| text.starts_with("no price known for c6i.4xlarge in eu-central-1"))
    );
}

#[test]
fn a_shape_of_the_file_corrects_the_catalogue() {
    let text = "provider = \"ec2\"\ncompute = { types = [\"c6i.4xlarge\", \"my-box\"] }\n\
        [shapes.\"c6i.4xlarge\"]\nprice = \"$0.50/h\"\n\
        [shapes.my-box]\ncpus = 8\nmemory = \"32 GB\"\nprice = \"$0.30/h\"\ngpus = \"1 L4\"\n";
    let pool = pool(text);
    assert_eq!(pool.shapes[0].price, Some(Price(500_000)));
    assert_eq!(pool.shapes[0].total.cpus, 16);
    assert_eq!(pool.shapes[1].total.cpus, 8);
    assert_eq!(pool.shapes[1].gpu_type, "l4");
}

#[test]
fn shapes_of_the_file_make_process_nodes() {
    let text = "provider = \"process\"\ncompute = { types = [\"small\", \"big\"], max = 5 }\n\
        [shapes.small]\ncpus = 1\nmemory = \"1 GB\"\nprice = \"$0.10/h\"\n\
        [shapes.big]\ncpus = 4\nmemory = \"4 GB\"\nprice = \"$0.30/h\"\n";
    let pool = pool(text);
    assert_eq!(pool.shapes[1].usable().memory_bytes, 4 << 30);
    assert_eq!((pool.max, pool.max_cpus), (5, None));
}

#[test]
fn keys_without_effect_are_noted_once_and_money_is_refused_by_up() {
    let text = "provider = \"process\"\ncompute = { gpus = \"1\", users = [\"ana\"] }\n\
        [hooks]\nnode_ready = \"/x\"\njob_prolog = \"/y\"\n[budget]\nusers = { ana = \"$5\", bo = \"$6\" }\n\
        [limits]\nusers = { default = { queued = 3 } }\n[accounts]\nadmins = [\"ana\"]\n";
    let parsed = read(text);
    let notes: Vec<&str> = parsed.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        notes,
        [
            "compute.gpus has no effect in this version",
            "compute.users has no effect in this version; pcluster up refuses it",
            "[hooks] has no effect in this version",
            "budget.users has no effect in this version; pcluster up refuses it",
            "limits.users has no effect in this version; pcluster up refuses it",
        ]
    );
    let refused: Vec<usize> = up_refusals(&parsed).iter().map(|refusal| refusal.line).collect();
    assert_eq!(refused, [2, 7, 9]);
}

#[test]
fn spot_and_its_bounds_are_read_and_places_are_inherited() {
    let text = "provider = \"ec2\"\nhead = { type = \"t3.large\" }\n[ec2]\nsubnets = [\"s-1\", \"s-2\"]\n\
        [pools.a]\ntypes = [\"c6i.4xlarge\"]\nspot = \"only\"\nmax_price = \"$0.60/h\"\nrequeue = \"always\"\n\
        [pools.b]\ntypes = [\"c6i.4xlarge\"]\nspot = true\nspot_patience = \"2 min\"\nsubnets = [\"s-3\"]\n";
    let config = config(text);
    let [a, b] = &config.pools[..] else { panic!("two pools") };
    assert_eq!(
        (a.spot, a.max_price, a.requeue_always),
        (SpotUse::Only, Some(Price(600_000)), true)
    );
    assert_eq!(
        (&a.subnets[..], &b.subnets[..]),
        (&["s-1".into(), "s-2".into()][..], &["s-3".into()][..])
    );
    assert_eq!((b.spot, b.spot_patience_ms), (SpotUse::Prefer, DurationMs::from_mins(2)));
    // A spot price is what counts where spot may be had; on demand the same bound is out of reach.
    let problems = |text: &str| read(text).problems;
    let dear = text.replace("spot = \"only\"\n", "");
    let dear: Vec<String> = problems(&dear).iter().map(|p| p.message.clone()).collect();
    assert_eq!(dear, ["no machine of pool a costs as little as `max_price`"]);
    let process = read("provider = \"process\"\ncompute = { spot = true }\n");
    assert_eq!(process.config.as_ref().unwrap().pools[0].spot, SpotUse::Never);
    let note = "pool compute: `spot` does nothing, provider process has one kind of machines";
    assert!(process.notes.iter().any(|said| said.text == note), "{:?}", process.notes);
    let elsewhere = problems("provider = \"process\"\ncompute = { subnets = [\"s-1\"] }\n");
    assert_eq!(elsewhere[0].message, "pool compute has subnets, and its provider has none");
}

#[test]
fn a_head_that_nodes_of_ec2_cannot_reach_is_told_what_to_add() {
    let text = "provider = \"process\"\n[pools.a]\n[pools.b]\nprovider = \"ec2\"\n";
    let refusal = pcluster_config::out_of_reach(&read(text)).unwrap();
    assert_eq!(refusal.line, 4);
    assert!(refusal.message.contains("could not reach this machine"), "{refusal:?}");
    assert!(refusal.hint.starts_with("head = { address = "), "{refusal:?}");
    let named = format!("{text}[head]\naddress = \"10.0.0.1\"\n");
    assert_eq!(pcluster_config::out_of_reach(&read(&named)), None);
    let placed = format!("{}[head]\ntype = \"t3.medium\"\n", text.replace("process", "ec2"));
    assert_eq!(pcluster_config::out_of_reach(&read(&placed)), None);
    assert_eq!(pcluster_config::out_of_reach(&read("provider = \"process\"\n")), None);
    let odd = "provider = \"ec2\"\n[ec2]\nregion = \"Frankfurt\"\n[pools.a]\nreservation = \"x\"\n\
               [pools.b]\nprovider = \"process\"\nefa = true\n";
    let lines: Vec<usize> = read(odd).problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 5, 8]);
}

#[test]
fn a_head_on_an_instance_has_one_volume_for_what_it_shares_or_for_its_state() {
    let volume = |text: &str| {
        let config = read(text).config.unwrap();
        let labels: Vec<String> = config.fixed_costs.iter().map(|it| it.label.clone()).collect();
        (pcluster_config::head_volume(&config).map(|bytes| bytes >> 30), labels.join(", "))
    };
    let said = |gib, labels: &str| (gib, labels.to_owned());
    let head = "provider = \"ec2\"\nhead = { type = \"t3.large\" }\n";
    assert_eq!(volume(head), said(Some(100), "t3.large, 100 GB gp3"));
    let both = format!("{head}storage = {{ shared_size = \"500 GB\" }}\n[pools.a]\n[pools.b]\n");
    assert_eq!(volume(&both), said(Some(500), "t3.large, 500 GB gp3"));
    let efs = format!("{head}storage = {{ from = \"efs:fs-1\", home = \"local\" }}\n");
    assert_eq!(volume(&efs), said(Some(10), "t3.large, 10 GB gp3"));
    assert_eq!(volume("provider = \"process\"\n"), said(None, ""));
    let folders = |text: &str| {
        let config = read(text).config.unwrap();
        config.pools[0].folders_of_head().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((folders(head), folders(&efs)), ("/shared /home".into(), String::new()));
    // A whole machine is no folder of another one.
    assert_eq!(folders(&format!("{head}storage = {{ shared = \"/\" }}\n")), "");
    let allow = |networks: &str| {
        let text = format!("{head}[ec2]\nallow = {networks}\n");
        read(&text).problems.iter().map(|it| it.message.clone()).collect::<Vec<_>>()
    };
    assert!(allow("[\"203.0.113.0/24\", \"2001:db8::/32\"]").is_empty());
    assert_eq!(allow("[\"203.0.113.7\"]"), ["\"203.0.113.7\" is not a network"]);
    assert_eq!(allow("[\"203.0.113.0/33\"]"), ["\"203.0.113.0/33\" is not a network"]);
}

#[test]
fn what_instances_mount_from_the_head_is_said() {
    let text =
        "provider = \"ec2\"\nhead = { address = \"10.0.0.1\" }\nstorage = { from = \"head\" }\n";
    let parsed = read(text);
    assert_eq!(up_refusals(&parsed), []);
    let note = pcluster_config::exported(&parsed).unwrap();
    let begin = "EC2's instances mount /home and /shared from the head: ";
    assert!(note.text.starts_with(begin) && note.line == 3, "{note:?}");
    let nfs = text.replace("from = \"head\"", "from = \"nfs:h:/s\", home = \"local\"");
    assert_eq!(pcluster_config::exported(&read(&nfs)), None);
}

#[test]
fn up_refuses_a_provider_that_is_not_built_in() {
    let refusals = up_refusals(&read(
        "provider = \"process\"\n[pools.a]\n[pools.b]\nprovider = \"ssh\"\nhosts = [\"h\"]\n",
    ));
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].line, 4);
    assert!(refusals[0].message.contains("provider ssh"));
    assert!(up_refusals(&read("provider = \"process\"\n[budget]\nmonth = \"$5\"\n")).is_empty());
}

#[test]
fn an_external_provider_has_shapes_of_the_pool_or_types() {
    let text = "provider = \"boxes\"\ncompute = { cpus = 2, memory = \"2 GB\", price = \"$0.10/h\" }\n\
                [external.boxes]\ncommand = \"./boxes --region x\"\nconsistency = \"0 s\"\npower_off = false\n";
    let parsed = read(text);
    assert!(parsed.problems.is_empty() && up_refusals(&parsed).is_empty(), "{parsed:#?}");
    let config = parsed.config.expect("right");
    let boxes = config.external("boxes").expect("it is there");
    assert_eq!(boxes.command, ["/srv/Ana's Project/boxes", "--region", "x"]);
    assert_eq!((boxes.timeout_ms.0, boxes.consistency_ms.0, boxes.power_off), (60_000, 0, false));
    let pool = &config.pools[0];
    assert_eq!((pool.shapes[0].total.cpus, pool.max), (2, 10));
    assert_eq!(pool.shapes[0].price.map(|price| price.to_string()).as_deref(), Some("$0.10/h"));
    // What a type of somebody's cloud is, only the file knows.
    let typed = text.replace("cpus = 2, memory = \"2 GB\"", "types = [\"small\"]");
    let shapes = "[shapes.small]\ncpus = 3\nmemory = \"4 GB\"\n";
    let config = read(&format!("{typed}{shapes}")).config.expect("right");
    assert_eq!(config.pools[0].shapes[0].total.cpus, 3);
}

#[test]
fn an_external_provider_needs_a_command() {
    for line in ["", "command = \"\"\n", "command = \"  \"\n"] {
        let parsed = read(&format!("provider = \"boxes\"\n[external.boxes]\n{line}"));
        assert!(
            parsed
                .problems
                .iter()
                .any(|problem| problem.message == "provider boxes has no command"),
            "{line:?}: {:#?}",
            parsed.problems
        );
    }
}

#[test]
fn names_come_from_the_folder() {
    assert_eq!(default_name("Ana's Project"), "ana-s-project");
    assert_eq!(default_name("genomics"), "genomics");
    assert_eq!(default_name(&"x".repeat(50)), "x".repeat(32));
    assert_eq!(default_name("…"), "cluster");
    assert_eq!(default_name(""), "cluster");
    let system = Source { in_system_dir: true, ..source() };
    assert_eq!(
        parse("provider = \"process\"", &system, &machine()).config.expect("right").name,
        "main"
    );
}

#[test]
fn explain_answers_for_a_topic() {
    let parsed = read("provider = \"process\"\ncompute = { name = \"main\", max = 3 }\n");
    let shown = explain(&parsed, Some("compute.max"), 80).expect("known");
    assert!(shown.starts_with("pools.main.max = 3   # line 2\n"), "{shown}");
    let shown = explain(&parsed, Some("idle_timeout"), 80).expect("known");
    assert!(
        shown.starts_with("pools.main.idle_timeout = \"1 min\"   # default of process\n"),
        "{shown}"
    );
    assert!(explain(&parsed, Some("head"), 80).expect("known").starts_with("head.type"));
    let absent = explain(&parsed, Some("images"), 80).expect("known");
    assert!(absent.contains("images.NAME.directory"), "{absent}");
    let wrong = explain(&parsed, Some("idle_timout"), 80).expect_err("unknown");
    assert_eq!(
        wrong.to_string(),
        "no key, table or pool is called `idle_timout`; did you mean `idle_timeout`?"
    );
    let json = explain_json(&parsed, Some("name")).expect("known");
    assert_eq!(json["schema"], "pcluster.config/1");
    assert_eq!(json["values"][0]["origin"]["from"], "machine");
}

#[test]
fn every_row_of_the_key_table_is_well_formed() {
    let mut seen = std::collections::BTreeSet::new();
    for key in pcluster_config::keys::all() {
        assert!(seen.insert(key.path), "{} twice", key.path);
        assert!(!key.meaning.is_empty() && !key.meaning.ends_with('.'), "{}", key.path);
        let parent = key.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        assert!(parent.is_empty() || seen.contains(parent), "{} comes before its table", key.path);
    }
}

#[test]
fn the_document_is_the_key_table() {
    crate::common::golden(&root().join("docs/config.md"), &pcluster_config::docs::markdown());
}

#[test]
fn at_most_never_counts_more_than_the_machine() {
    let text = "provider = \"process\"\ncompute = { price = \"$1/h\" }\n";
    let summary = check_summary(&config(text));
    assert_eq!(summary.most_per_hour, Price(4_000_000));
    assert_eq!(summary.most[0].label, "1c");
}

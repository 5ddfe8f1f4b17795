//! Programs that answer as they like: shell scripts of a few words.
use super::*;
use pcluster_model::{DurationMs, LaunchId, NodeId, Resources};
use std::time::Instant;

fn provider(script: &str, timeout: DurationMs) -> ExternalProvider {
    let shape = Shape {
        name: "small".into(),
        arch: "x86_64".into(),
        total: Resources { cpus: 1, memory_bytes: 1 << 30, gpus: 0, tmp_bytes: 0 },
        gpu_type: String::new(),
        price: None,
        spot_price: None,
        reserve_bytes: 0,
    };
    ExternalProvider::new(ExternalSettings {
        external: External {
            add_users: false,
            name: "odd".into(),
            command: ["sh", "-c", script, "odd"].map(String::from).into(),
            timeout_ms: timeout,
            consistency_ms: DurationMs::ZERO,
            power_off: false,
        },
        cluster: ClusterId::from("0123456789abcdef"),
        agent_binary: "/agent".into(),
        shapes: vec![shape],
    })
}

fn says(script: &str) -> ExternalProvider {
    provider(script, DurationMs::from_secs(30))
}

fn order(count: u32) -> LaunchOrder {
    LaunchOrder {
        cluster: ClusterId::from("0123456789abcdef"),
        cluster_name: "lab".into(),
        launch: LaunchId(7),
        count,
        shape: says("").settings.shapes[0].clone(),
        image: crate::LaunchImage { name: "host".into(), reference: String::new() },
        spot: true,
        subnet: String::new(),
        names: (0..count).map(|index| format!("n-{index}")).collect(),
        joins: (0..count).map(|index| format!("{{\"secret\":{index}}}")).collect(),
        tags: [("a".to_owned(), "b".to_owned())].into(),
        ec2: pcluster_model::config::Ec2Pool::default(),
    }
}

#[tokio::test]
async fn the_request_is_whole_and_the_verb_is_the_last_word() {
    let file = std::env::temp_dir().join(format!("pc request {}", std::process::id()));
    let script = format!("cat >'{}'; echo \"{{\\\"console\\\":\\\"$1\\\"}}\"", file.display());
    let told = says(&script).launch(&order(2)).await.unwrap_err();
    assert_eq!(told.message, "launch: its answer has no `launched`");
    let request: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let wanted = serde_json::json!({
        "version": 1, "cluster": "0123456789abcdef", "agent": "/agent", "verb": "launch",
        "cluster_name": "lab", "launch": 7, "shape": "small", "cpus": 1,
        "memory_bytes": 1 << 30, "gpus": 0, "spot": true, "image": "host",
        "image_reference": "", "tags": {"a": "b"}, "machines": [
            {"index": 0, "name": "n-0", "join": "{\"secret\":0}"},
            {"index": 1, "name": "n-1", "join": "{\"secret\":1}"},
        ],
    });
    assert_eq!(request, wanted);
    let instance = InstanceRef::from("i-1");
    assert_eq!(says(&script).console(&instance).await.unwrap(), "console");
    let request: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&request["verb"], &request["instance"]), (&"console".into(), &"i-1".into()));
    let targets = [Target::Instance(instance), Target::Launch(LaunchId(9))];
    says(&script).terminate(&targets).await.unwrap();
    let request: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(request["instances"], serde_json::json!(["i-1"]));
    assert_eq!(request["launches"], serde_json::json!([9]));
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn each_machine_is_answered_for_itself_and_one_that_is_forgotten_has_failed() {
    let script = r#"echo '{"launched":[
        {"index":2,"error":{"class":"no_capacity","message":"none left"}},
        {"index":0,"instance":"i-0","launched_at":1000,"later":true}]}'"#;
    let answers = says(script).launch(&order(3)).await.unwrap();
    let told: Vec<_> = answers
        .into_iter()
        .map(|answer| {
            answer.map(|one| one.instance.0).map_err(|error| (error.class, error.message))
        })
        .collect();
    assert_eq!(
        told,
        [
            Ok("i-0".to_owned()),
            Err((ErrorClass::Unknown, "launch: no answer for machine 1".to_owned())),
            Err((ErrorClass::NoCapacity, "none left".to_owned())),
        ]
    );
}

#[tokio::test]
async fn errors_have_the_classes_of_the_protocol() {
    let of = async |inside: &str| {
        let script = format!("echo '{{\"error\":{{{inside}}}}}'");
        says(&script).list().await.unwrap_err().class
    };
    assert_eq!(of(r#""class":"never_fits""#).await, ErrorClass::NeverFits);
    assert_eq!(of(r#""class":"bad_config""#).await, ErrorClass::BadConfig);
    assert_eq!(of(r#""class":"of tomorrow""#).await, ErrorClass::Unknown);
    let quota = ErrorClass::Quota { limit: "32".into(), used: "30".into() };
    assert_eq!(of(r#""class":"quota","limit":"32","used":"30""#).await, quota);
    let before = crate::provider::now();
    let ErrorClass::RateLimited { retry_at } =
        of(r#""class":"rate_limited","retry_after_ms":60000"#).await
    else {
        panic!("another class")
    };
    assert!(retry_at >= before + DurationMs::from_mins(1));
}

#[tokio::test]
async fn a_list_names_machines_with_their_ends() {
    let script = r#"echo '{"machines":[
        {"instance":"i-0","launch":7,"index":0,"phase":"running","launched_at":1000},
        {"instance":"i-1","launch":7,"index":1,"phase":"ended","launched_at":1000,"ended_at":2000}]}'"#;
    let listed = says(script).list().await.unwrap();
    assert_eq!(listed[0].node(), Some(NodeId { launch: LaunchId(7), index: 0 }));
    assert_eq!(listed[1].ended_at.map(|at| at.0), Some(2000));
}

#[tokio::test]
async fn what_is_not_understood_is_a_failed_call_in_words() {
    for (script, words) in [
        ("exit 3", "list: exit status: 3"),
        ("echo first >&2; echo no such region >&2; exit 1", "exit status: 1: no such region"),
        ("echo hello", "its answer is not understood"),
        ("", "its answer is not understood"),
        ("echo '{}'", "its answer has no `machines`"),
        ("kill -9 $$", "signal: 9"),
        ("head -c 5000000 /dev/zero", "more than 4194304 bytes"),
    ] {
        let error = says(script).list().await.unwrap_err();
        assert!(error.message.contains(words), "{script}: {error}");
        assert_eq!(error.class, ErrorClass::Unknown);
    }
    let mut absent = says("");
    absent.settings.external.command = vec!["/no/such/program".into()];
    let error = absent.list().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::BadConfig);
    assert!(error.message.contains("cannot run /no/such/program"), "{error}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let folder = std::env::temp_dir().join(format!("pc external {}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script =
        format!("sleep 1000 & echo $! >'{0}/child'; echo $$ >'{0}/own'; wait", folder.display());
    let started = Instant::now();
    // Long enough that it has begun: what it started is in its file then.
    let error = provider(&script, DurationMs::from_secs(2)).list().await.unwrap_err();
    assert!(error.message.contains("no answer within 2 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60));
    for name in ["child", "own"] {
        let pid = std::fs::read_to_string(folder.join(name)).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let lives = || {
            std::fs::read_to_string(&stat).is_ok_and(|text| {
                text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
            })
        };
        let until = Instant::now() + Duration::from_secs(30);
        while lives() {
            assert!(Instant::now() < until, "{name} lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn spot_machines_are_offered_where_the_program_prices_them() {
    let offers = says(r#"echo '{"shapes": [], "spot_prices": {"small": 31000, "huge": 1}}'"#);
    let offers = offers.offerings().await.unwrap();
    let offers: Vec<_> = offers.iter().map(|o| (o.spot, o.price)).collect();
    let demand = says("").settings.shapes[0].price;
    assert_eq!(offers, [(false, demand), (true, Some(pcluster_model::Price(31_000)))]);
}

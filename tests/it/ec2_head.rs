//! The head's own machine in EC2: made, found again after everything that cuts it short, logged in to, and removed; in a
//! cloud on loopback that boots it with an SSH server.
use pcluster_model::{ClusterId, InstanceRef};
use pcluster_providers::ec2::{
    Ec2Head, Ec2Provider, Ec2Settings, HeadMachine, HeadWish, place_policy,
};
use pcluster_providers::{ErrorClass, LaunchImage, Provider, ProviderError};
use pcluster_ssh::{Keys, Ran, Session, Target, Trust};
use pcluster_tests::cloud::Cloud;
use pcluster_tests::{people, skip, until};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const CLUSTER: &str = "0123456789abcdef";

/// An account, and somebody with a key who has nothing in it yet.
struct Account {
    root: PathBuf,
    cloud: Cloud,
}

impl Account {
    fn new(label: &str) -> Option<Self> {
        if !people::is_root() {
            skip("machines of the cloud need root here");
            return None;
        }
        let root = std::env::temp_dir().join(format!("pct-head-{label}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let cloud = Cloud::start(&root.join("cloud"), true)?;
        let account = Self { root, cloud };
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "ana's laptop", "-f"]);
        assert!(command.arg(account.key()).status().unwrap().success());
        Some(account)
    }

    fn key(&self) -> PathBuf {
        self.root.join("key")
    }

    fn environment(&self) -> std::collections::BTreeMap<String, String> {
        self.cloud.environment().map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn wish(&self, cluster: &str) -> HeadWish {
        HeadWish {
            region: "us-east-1".into(),
            environment: Some(self.environment()),
            cluster: ClusterId::from(cluster),
            cluster_name: "lab".into(),
            machine_type: "t3.large".into(),
            arch: "x86_64".into(),
            subnets: Vec::new(),
            image: LaunchImage { name: "debian-12".into(), reference: String::new() },
            instance_profile: "pcluster-head".into(),
            allow: vec!["127.0.0.0/8".into()],
            volume_bytes: 100 << 30,
            account: "ana".into(),
            public_key: fs::read_to_string(self.key().with_extension("pub")).unwrap(),
        }
    }

    /// As a new process of `up` would make it.
    fn head(&self, cluster: &str) -> Ec2Head {
        wished(self.wish(cluster))
    }

    /// The provider as the head of that cluster has it.
    fn provider(&self, cluster: &str) -> Ec2Provider {
        Ec2Provider::new(Ec2Settings {
            region: "us-east-1".into(),
            environment: Some(self.environment()),
            cluster: ClusterId::from(cluster),
            cluster_name: "lab".into(),
            pools: Vec::new(),
            standing: pcluster_providers::ec2::StandingPrices::default(),
            placing: None,
        })
    }

    fn ids(&self, what: &str, key: &str, end: &str) -> Vec<String> {
        let all = self.cloud.see(what);
        let living = all.as_array().unwrap().iter().filter(|one| one[end].is_null());
        living.map(|one| one[key].as_str().unwrap().to_owned()).collect()
    }

    fn machines(&self) -> Vec<String> {
        self.ids("meter", "instance", "ended")
    }

    fn volumes(&self) -> Vec<String> {
        self.ids("volumes", "volume", "deleted")
    }

    fn groups(&self) -> Vec<String> {
        let facts = self.cloud.see("facts");
        let names = facts["groups"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        names.filter(|name| name.starts_with("pcluster-")).map(str::to_owned).collect()
    }

    fn called(&self, action: &str) -> u64 {
        self.cloud.see("calls")[action].as_u64().unwrap_or(0)
    }

    /// Runs a command on the machine, as the account.
    fn on(&self, machine: &HeadMachine, command: &str) -> Ran {
        let target = Target { user: "ana".into(), host: machine.address.clone(), port: 22 };
        let trust = Trust::Pinned(machine.host_key.clone().expect("its console has said it"));
        let keys = Keys { agent: None, files: vec![self.key()] };
        waits(async {
            let session = Session::open(&target, trust, &keys).await.unwrap();
            session.run(command, b"").await.unwrap()
        })
    }

    fn says(&self, machine: &HeadMachine, command: &str) -> String {
        let ran = self.on(machine, command);
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        String::from_utf8(ran.out).unwrap().trim().to_owned()
    }

    /// Nobody asked for more than the policy of who makes a head's machine.
    fn asked_for_no_more_than_its_policy(&self) {
        let policy = place_policy("pcluster-head").to_string();
        for (action, _) in self.cloud.see("calls").as_object().unwrap() {
            assert!(policy.contains(&format!("\"ec2:{action}\"")), "{action}");
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn wished(wish: HeadWish) -> Ec2Head {
    Ec2Head::new(wish).with_lag(Duration::from_secs(4))
}

fn waits<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

fn place(head: &Ec2Head) -> Result<HeadMachine, ProviderError> {
    waits(head.place(&|words| println!("{words}")))
}

fn remove(head: &Ec2Head, delete_storage: bool) -> Vec<String> {
    waits(head.remove(delete_storage, &|words| println!("{words}"))).unwrap()
}

/// What a machine does with its volume at its first start, and at every other.
const KEEP_STATE: &str = "set -eu
device=$(lsblk -dnpo NAME,SERIAL | awk -v serial=VOLUME '$2 == serial { print $1 }')
[ -b \"$device\" ]
code=0
sudo -n blkid -p \"$device\" >/dev/null || code=$?
if [ $code = 2 ]; then sudo -n mkfs.ext4 -q -L pcluster \"$device\"; fi
sudo -n mkdir -p /var/lib/pcluster
sudo -n mount \"$device\" /var/lib/pcluster
echo started | sudo -n tee -a /var/lib/pcluster/starts >/dev/null
sudo -n mkdir -p /var/lib/pcluster/home
sudo -n mount --bind /var/lib/pcluster/home /srv
sudo -n touch /srv/there
grep -c started /var/lib/pcluster/starts
";

#[test]
fn a_head_is_made_from_nothing_logged_in_to_removed_and_its_state_stays() {
    let Some(account) = Account::new("whole") else { return };
    let head = account.head(CLUSTER);
    let nothing = waits(head.look()).unwrap();
    assert!(nothing.instance.is_none() && nothing.volume.is_none(), "{nothing:?}");
    let machine = place(&head).unwrap();
    assert_eq!(place(&account.head(CLUSTER)).unwrap(), machine, "again is the same");
    assert_eq!(account.machines(), [machine.instance.to_string()]);
    assert_eq!(account.volumes(), [machine.volume.as_str()]);
    assert_eq!(
        account.groups(),
        [format!("pcluster-{CLUSTER}"), format!("pcluster-{CLUSTER}-head")]
    );
    account.asked_for_no_more_than_its_policy();

    // It is a machine to log in to, whose key is the one on its console, and whose role is its only right.
    assert_eq!(
        account.says(&machine, "id -un; sudo -n id -u; hostname").lines().collect::<Vec<_>>(),
        ["ana", "0", machine.instance.as_str()]
    );
    let environment = account.says(&machine, "env; sudo -n env");
    assert!(
        environment.contains("AWS_ENDPOINT_URL=") && !environment.contains("ACCESS_KEY"),
        "{environment}"
    );
    let role = "at=$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest
        token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $at/api/token)
        ask() { curl -sf -H \"X-aws-ec2-metadata-token: $token\" $at/meta-data/$1; }
        ask iam/security-credentials/$(ask iam/security-credentials/); echo; ask local-ipv4";
    let said = account.says(&machine, role);
    assert!(said.contains("AccessKeyId") && said.ends_with(&machine.address), "{said}");
    let keep = KEEP_STATE.replace("VOLUME", &machine.volume.replace('-', ""));
    assert_eq!(account.says(&machine, &keep), "1");

    // The running head sees no machine of its own among its nodes, and leaves what it lives in.
    let provider = account.provider(CLUSTER);
    assert_eq!(waits(provider.list()).unwrap(), []);
    let said = waits(provider.clean_up()).unwrap();
    assert!(
        said.len() == 2 && said.iter().all(|line| line.contains("it goes with that")),
        "{said:?}"
    );
    assert_eq!(account.groups().len(), 2);

    let said = remove(&account.head(CLUSTER), false);
    let stays = format!("volume {} stays: 100 GB, about $8.00 a month", machine.volume);
    assert!(said.contains(&stays) && said.len() == 4, "{said:?}");
    assert_eq!((account.machines().len(), account.groups().len()), (0, 0));
    let there = waits(head.look()).unwrap();
    assert!(there.instance.is_none() && there.volume.unwrap().id == machine.volume);

    // The next one is another machine with the same state.
    let next = place(&account.head(CLUSTER)).unwrap();
    assert_eq!((&next.volume, &next.zone), (&machine.volume, &machine.zone));
    assert!(next.instance != machine.instance && next.host_key != machine.host_key);
    assert_eq!(account.says(&next, &keep), "2");
    assert_eq!(account.volumes().len(), 1);
    let said = remove(&account.head(CLUSTER), true);
    assert!(said.contains(&format!("volume {} deleted", machine.volume)), "{said:?}");
    assert_eq!(
        (account.machines().len(), account.volumes().len(), account.groups().len()),
        (0, 0, 0)
    );
    assert_eq!(remove(&account.head(CLUSTER), true), Vec::<String>::new());
    account.asked_for_no_more_than_its_policy();
}

#[test]
fn a_head_on_its_instance_has_nodes_by_its_role_alone() {
    let Some(account) = Account::new("nodes") else { return };
    let machine = place(&account.head(CLUSTER)).unwrap();
    let address = &machine.address;
    let file = format!(
        "name = \"lab\"\nprovider = \"ec2\"\n\
         head = {{ address = \"{address}\", listen = \"{address}:7443\", hosts_file = \"none\" }}\n\
         compute = {{ types = [\"c6i.large\"], max = 1, idle_timeout = \"30 s\" }}\n\
         [storage]\nshared = \"/\"\nfrom = \"mounted\"\n[limits]\nroot_jobs = true\n"
    );
    let program = pcluster_tests::bins::folder().join("pcluster").display().to_string();
    let write = format!("sudo -n tee /opt/cluster.toml >/dev/null <<'END'\n{file}END\n");
    account.says(&machine, &write);
    let pcluster = |words: &str| {
        account.on(
            &machine,
            &format!("cd /opt && sudo -n env PCLUSTER_CONFIG=/opt/cluster.toml {program} {words}"),
        )
    };
    let said = pcluster("doctor provider image --json");
    let found: Value = serde_json::from_slice(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let text = found.to_string();
    assert!(text.contains("lets this head do all that it takes"), "{found:#}");
    for words in ["up", "run -- sh -c 'echo on $(hostname)'"] {
        let said = pcluster(words);
        assert_eq!(said.code, Some(0), "{words}: {} {}", text_of(&said.out), text_of(&said.err));
        if words != "up" {
            assert_eq!(text_of(&said.out).trim(), "on compute-1");
        }
    }
    assert_eq!(account.machines().len(), 2);
    // The end of the cluster ends its nodes, and not the machine that it is said on.
    let said = pcluster("down --now");
    let out = text_of(&said.out);
    assert!(said.code == Some(0) && out.contains("0 left"), "{out} {}", text_of(&said.err));
    assert_eq!(account.machines(), [machine.instance.to_string()]);
    remove(&account.head(CLUSTER), true);
    assert_eq!(
        (account.machines().len(), account.volumes().len(), account.groups().len()),
        (0, 0, 0)
    );
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn two_at_once_make_one() {
    let Some(account) = Account::new("once") else { return };
    let (one, other) = (account.head(CLUSTER), account.head(CLUSTER));
    let quiet = |_: &str| ();
    let (first, second) = waits(async { tokio::join!(one.place(&quiet), other.place(&quiet)) });
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(
        (account.machines().len(), account.volumes().len(), account.groups().len()),
        (1, 1, 2)
    );
    // A machine of a node that the head leaves behind goes with it, and before it.
    let left = waits(one.look()).unwrap();
    assert_eq!(left.machines, []);
    remove(&other, true);
    assert_eq!(
        (account.machines().len(), account.volumes().len(), account.groups().len()),
        (0, 0, 0)
    );
}

/// Calls that make something.
const MAKES: [&str; 4] = ["CreateSecurityGroup", "RunInstances", "CreateVolume", "AttachVolume"];

#[test]
fn whatever_is_cut_short_is_the_same_head_at_the_next_try() {
    let Some(account) = Account::new("cut") else { return };
    for (number, action) in MAKES.iter().enumerate() {
        let cluster = format!("00000000000000a{number}");
        let before = account.called(action);
        account.cloud.tell("faults", &json!([{"action": action, "kind": "slow", "ms": 400}]));
        // Its process dies while the call is under way: EC2 does it, and nobody hears of it.
        let head = account.head(&cluster);
        waits(async {
            let asked = async {
                while account.called(action) == before {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                placed = head.place(&|_| ()) => panic!("{action}: {placed:?}"),
                () = asked => {}
            }
        });
        // Lists do not show yet what was made.
        account.cloud.tell("lag", &json!({"ms": 1500}));
        let machine = place(&account.head(&cluster)).unwrap();
        account.cloud.tell("lag", &json!({"ms": 0}));
        assert_eq!(account.machines(), [machine.instance.to_string()], "{action}");
        assert_eq!(account.volumes(), [machine.volume], "{action}");
        remove(&account.head(&cluster), true);
        assert_eq!(
            (account.machines().len(), account.volumes().len(), account.groups().len()),
            (0, 0, 0),
            "{action}"
        );
    }
}

#[test]
fn lost_answers_changed_wishes_and_dead_machines_never_make_two() {
    let Some(account) = Account::new("lost") else { return };
    let lost: Vec<Value> =
        MAKES.iter().map(|action| json!({"action": action, "kind": "lost"})).collect();
    account.cloud.tell("faults", &json!(lost));
    let machine = place(&account.head(CLUSTER)).unwrap();
    assert_eq!((account.machines().len(), account.volumes().len()), (1, 1));
    for action in MAKES {
        assert!(account.called(action) > 1, "{action} was not lost");
    }

    // It dies; what comes next has another token and the same volume.
    account.cloud.tell("end", &json!({"instance": machine.instance.as_str(), "how": "silent"}));
    until("the end of the machine", || account.machines().is_empty().then_some(()));
    let next = place(&account.head(CLUSTER)).unwrap();
    assert!(next.instance != machine.instance && next.volume == machine.volume);

    // A first try that nobody heard of, and a second one with other words before anything is listed.
    let other = "00000000000000b1";
    let lost = json!([{"action": "RunInstances", "kind": "lost", "times": -1}]);
    account.cloud.tell("faults", &lost);
    account.cloud.tell("lag", &json!({"ms": 20_000}));
    let failed = place(&account.head(other)).unwrap_err();
    assert_eq!(failed.class, ErrorClass::Unknown, "{failed}");
    account.cloud.tell("faults", &json!([]));
    account.cloud.tell("lag", &json!({"ms": 1500}));
    let wish = HeadWish { account: "ben".into(), ..account.wish(other) };
    let adopted = place(&wished(wish)).unwrap();
    assert_eq!(account.machines().len(), 2, "one for each cluster: {adopted:?}");
    // Each cluster's end is its own.
    account.cloud.tell("lag", &json!({"ms": 0}));
    remove(&account.head(other), true);
    assert_eq!(account.machines(), [next.instance.to_string()]);
    assert_eq!(
        account.groups(),
        [format!("pcluster-{CLUSTER}"), format!("pcluster-{CLUSTER}-head")]
    );
    assert_eq!(account.says(&next, "sudo -n id -u"), "0");
}

#[test]
fn what_cannot_be_is_said_with_what_helps() {
    let Some(account) = Account::new("refused") else { return };
    let refused = |wish: HeadWish| place(&wished(wish)).unwrap_err();
    let wish = account.wish(CLUSTER);
    let told = refused(HeadWish { instance_profile: "nobody".into(), ..wish.clone() });
    assert!(
        told.message.contains("no instance profile nobody") && told.class == ErrorClass::BadConfig,
        "{told}"
    );
    let told = refused(HeadWish { machine_type: "t4g.small".into(), ..wish.clone() });
    assert!(told.message.contains("t4g.small is aarch64"), "{told}");
    let told = refused(HeadWish { machine_type: "t9.huge".into(), ..wish.clone() });
    assert!(told.message.contains("t9.huge"), "{told}");
    let role =
        "User: ana is not authorized to perform: iam:PassRole on resource: role/pcluster-head";
    account.cloud.tell(
        "faults",
        &json!([{"action": "RunInstances", "kind": "error", "code": "UnauthorizedOperation",
                                          "status": 403, "message": role}]),
    );
    assert!(
        refused(wish.clone())
            .message
            .contains("needs iam:PassRole (`pcluster provider policy --place`")
    );
    assert_eq!((account.machines().len(), account.volumes().len()), (0, 0));

    // Where there is no capacity the next zone is asked, and the volume goes where the machine is.
    account.cloud.tell(
        "faults",
        &json!([{"action": "RunInstances", "kind": "error", "code": "InsufficientInstanceCapacity",
                                          "status": 500}]),
    );
    let machine = place(&account.head(CLUSTER)).unwrap();
    assert_eq!(machine.zone, "us-east-1b");
    // Networks that are not named any more are shut out; another cluster of this name is seen.
    let changed = HeadWish { allow: vec!["192.0.2.7".into()], ..wish.clone() };
    assert_eq!(place(&wished(changed)).unwrap().instance, machine.instance);
    assert_eq!(account.called("RevokeSecurityGroupIngress"), 1);
    let namesakes = waits(account.head("fedcba9876543210").look()).unwrap().namesakes;
    assert_eq!(namesakes.len(), 1, "{namesakes:?}");
    assert_eq!(namesakes[0].cluster, ClusterId::from(CLUSTER));
    assert_eq!(namesakes[0].things, [machine.instance.to_string(), machine.volume.clone()]);

    // A volume is of one zone.
    remove(&account.head(CLUSTER), false);
    let facts = account.cloud.see("facts");
    let subnets = facts["subnets"].as_object().unwrap().iter();
    let elsewhere =
        subnets.filter(|(_, zone)| **zone == "us-east-1a").map(|(id, _)| id.clone()).collect();
    let told = refused(HeadWish { subnets: elsewhere, ..wish });
    assert!(
        told.message.contains("lies in us-east-1b")
            && told.message.contains("add one of that zone"),
        "{told}"
    );
    assert_eq!(InstanceRef::from(machine.instance.as_str()), machine.instance);
    remove(&account.head(CLUSTER), true);
}

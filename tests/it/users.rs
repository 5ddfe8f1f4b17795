//! Users on nodes that have an `/etc` of their own: who they are there, and who is refused.
use crate::external::{boxed, boxes, can_box, over};
use pcluster_tests::people::Person;
use pcluster_tests::{Cluster, PATIENCE, Setup, bins, people, repository, skip, within};
use std::fs;
use std::path::PathBuf;

/// An image's `/etc` with these accounts.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbin:x:77:77::/nowhere:/bin/sh\n";

/// Puts the program that makes boxes into the cluster's folder; each has an `/etc` with root and another `bin`.
pub(crate) fn boxes_with_etc(cluster: &Cluster, before: &str) {
    let etc = cluster.root().join("image-etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("passwd"), PASSWD).unwrap();
    fs::write(etc.join("group"), "root:x:0:\nbin:x:77:\n").unwrap();
    fs::write(etc.join("shadow"), "root:*:19000:0:99999:7:::\n").unwrap();
    // The programs of this test are not in the image: the box finds the host's libraries.
    for name in ["ld.so.cache", "alternatives", "nsswitch.conf"] {
        let host = PathBuf::from("/etc").join(name);
        if host.is_file() {
            fs::copy(&host, etc.join(name)).unwrap();
        }
    }
    let real = repository().join("examples/external/boxes");
    let text = format!(
        "#!/bin/sh\n{before}PCLUSTER_BOXES_DIR='{}' PCLUSTER_BOXES_ETC='{}' exec '{}' \"$@\"\n",
        cluster.root().join("boxes").display(),
        etc.display(),
        real.display()
    );
    bins::program(&cluster.work().join("boxes"), &text);
}

/// Every node is done.
pub(crate) fn nodes_go(cluster: &Cluster) {
    for node in cluster.live_nodes() {
        cluster.ok(&["node", "drain", node["name"].as_str().unwrap()]);
    }
}

/// A cluster of boxes whose image has nobody but root, and another `bin`.
fn cluster(label: &str) -> Cluster {
    let mut setup = boxed("cpus = 2, memory = \"600 MB\", max = 2, idle_timeout = \"5 min\"");
    setup.more.push_str("add_users = true\n");
    let cluster = Cluster::cold(label, Setup { system_socket: true, ..setup });
    boxes_with_etc(&cluster, "");
    cluster.up();
    cluster
}

/// A job of this user; where its output goes, and its id.
fn submit(cluster: &Cluster, person: &Person, text: &str) -> (PathBuf, String) {
    let config = cluster.work().join("cluster.toml");
    let words =
        ["--config", config.to_str().unwrap(), "submit", "-q", "--export", "NONE", "--wrap", text];
    let mut command = cluster.command_as(person, &words);
    let home = cluster.root().join(format!("home-{}", person.name));
    let id = cluster.say(command.current_dir(&home)).expect_code(0).id();
    (home.join(format!("pcluster-{id}.out")), id)
}

#[test]
fn users_are_themselves_on_nodes_that_had_no_account_of_theirs() {
    if !can_box() {
        return;
    }
    let (Some(daemon), Some(bin)) = (people::named("daemon"), people::named("bin")) else {
        return skip("the accounts daemon and bin");
    };
    let cluster = cluster("users");
    let line = fs::read_to_string("/etc/passwd").unwrap();
    let fields: Vec<&str> =
        line.lines().find(|line| line.starts_with("daemon:")).unwrap().split(':').collect();
    let (home, shell) = (fields[5], fields[6]);
    // Another `bin` is on the node: this user's jobs wait, and say why; nothing more is launched for them.
    let (out, refused) = submit(&cluster, &bin, "id -un");
    let why = within(PATIENCE, || {
        let said = cluster.ok(&["why", &refused]).out;
        said.contains("refuse jobs of bin").then_some(said)
    });
    let why = why.unwrap_or_else(|| panic!("{}", cluster.ok(&["why", &refused]).out));
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!("an account bin with the number 77; on the head it is {}", bin.uid);
    assert!(why.contains(&expected), "{why}");
    // The same node runs those of others.
    let ask = "id -un; id -u; id -gn; id -Gn; echo $HOME; echo ~; getent passwd daemon; echo $USER; touch mine";
    let (told, job) = submit(&cluster, &daemon, ask);
    assert_eq!(cluster.wait(&job), 0);
    let said = fs::read_to_string(&told).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["daemon", &daemon.uid.to_string()[..], "daemon"], "{said}");
    assert!(lines[3].split(' ').any(|group| group == "daemon"), "{said}");
    let account = format!("daemon:x:{}:{}::{home}:{shell}", daemon.uid, daemon.gid);
    assert_eq!(lines[4..], [home, home, &account[..], "daemon"], "{said}");
    use std::os::unix::fs::MetadataExt as _;
    let mine = fs::metadata(told.with_file_name("mine")).unwrap();
    assert_eq!((mine.uid(), mine.gid()), (daemon.uid, daemon.gid));
    // Each job on the node it has, and the image's own lines as they were.
    let nodes = boxes(&cluster);
    assert_eq!(nodes.len(), 1, "no node was launched for who is refused");
    let etc = nodes[0].join("etc");
    let read = |name: &str| fs::read_to_string(etc.join(name)).unwrap();
    assert_eq!(read("passwd"), format!("{PASSWD}{account}\n"));
    assert!(read("shadow").ends_with("\ndaemon:!:::::::\n"), "{}", read("shadow"));
    // An admin mends the account, and the job runs without a word from anybody.
    fs::write(etc.join("passwd"), PASSWD.replace("77:77", &format!("{}:{}", bin.uid, bin.gid)))
        .unwrap();
    assert_eq!(cluster.wait(&refused), 0);
    assert_eq!(fs::read_to_string(out).unwrap(), "bin\n");
    nodes_go(&cluster);
    over(&cluster);
}

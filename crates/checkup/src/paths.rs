//! Shared paths as this machine sees them, and the servers that some of them are on.
use crate::{PATIENCE, plain, size, within};
use pcluster_api::{Finding, Topic};
use pcluster_exports::Trouble;
use pcluster_model::config::{Config, ProviderKind, Share, ShareSource};
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;

const TOPIC: Topic = Topic::Storage;
/// Where NFS version 4 listens; version 3 as a rule, too.
const NFS_PORT: u16 = 2049;
/// Nodes take a path with less than this free for full, in bytes; on small file systems, a hundredth.
const FULL: (u64, u64) = (1 << 20, 100);

/// A path and where it comes from.
struct Asked<'a> {
    share: &'a Share,
    /// Nodes are on this machine: what is missing here is missing there.
    here: bool,
    pools: Vec<&'a str>,
}

fn asked(config: &Config) -> Vec<Asked<'_>> {
    let mut paths: BTreeMap<&str, Asked<'_>> = BTreeMap::new();
    for pool in &config.pools {
        for share in &pool.shares {
            let one = paths.entry(&share.path);
            let one = one.or_insert_with(|| Asked { share, here: false, pools: Vec::new() });
            one.here |= pool.provider == ProviderKind::Process || share.source == ShareSource::Head;
            one.pools.push(pool.name.as_str());
        }
    }
    paths.into_values().collect()
}

/// Every shared path of the file. `token` is the file below each by which nodes know it.
#[must_use]
pub fn shared(config: &Config, token: &str) -> Vec<Finding> {
    asked(config).iter().map(|asked| path(asked, token)).chain(exports(config)).collect()
}

/// Whether this machine can export what nodes in EC2 mount from it.
fn exports(config: &Config) -> Option<Finding> {
    let paths: Vec<String> = pcluster_exports::paths(config).into_iter().collect();
    paths.first()?;
    let paths = paths.join(" and ");
    let lack = pcluster_exports::lacks();
    let answers = lack.is_none() && is_served(config);
    Some(exported(&paths, lack, answers))
}

fn is_served(config: &Config) -> bool {
    let own = config.head.address.clone().unwrap_or_default();
    let own = own.rsplit_once(':').map_or(own.as_str(), |(host, _)| host).to_owned();
    let hosts = ["127.0.0.1".to_owned(), own.trim_matches(['[', ']']).to_owned()];
    let any = move || hosts.iter().any(|host| reach(host, NFS_PORT).is_ok());
    within(any) == Some(true)
}

fn exported(paths: &str, lack: Option<Trouble>, answers: bool) -> Finding {
    let why = format!("nodes in EC2 mount {paths} from the head, and no machine is launched then");
    match lack {
        Some(lack) => Finding::attention(TOPIC, lack.what).why(why).hint(lack.help),
        None if answers => {
            Finding::ok(TOPIC, format!("an NFS server answers here: nodes in EC2 mount {paths}"))
        }
        None => Finding::attention(TOPIC, format!("no NFS server answers at port {NFS_PORT} here"))
            .why(why)
            .hint("systemctl start nfs-server    and: journalctl -u nfs-server"),
    }
}

/// What was seen of a path that is there.
struct Seen {
    read_only: bool,
    writable: bool,
    has_token: bool,
    free: u64,
    whole: u64,
}

fn look(path: &str, token: &str) -> Result<Seen, String> {
    let folder = Path::new(path);
    let words = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        io::ErrorKind::StaleNetworkFileHandle => {
            "is stale: its server has another one now".to_owned()
        }
        _ => format!("cannot be read: {}", plain(error)),
    };
    let seen = fs::metadata(folder).map_err(|error| words(&error))?;
    if !seen.is_dir() {
        return Err("is not a directory".to_owned());
    }
    let disk = statvfs(folder).map_err(|error| words(&error.into()))?;
    Ok(Seen {
        read_only: disk.f_flag.contains(StatVfsMountFlags::RDONLY),
        writable: access(folder, Access::WRITE_OK).is_ok(),
        has_token: folder.join(token).exists(),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        whole: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}

fn path(asked: &Asked<'_>, token: &str) -> Finding {
    let name = asked.share.path.clone();
    if name == "/" {
        return Finding::ok(TOPIC, "nodes share all of this machine: they are processes of it");
    }
    let out = format!("nodes of pool {} take no jobs then", asked.pools.join(", "));
    let (own, owned) = (name.clone(), token.to_owned());
    let Some(seen) = within(move || look(&own, &owned)) else {
        let what = format!("{name} does not answer within {} s", PATIENCE.as_secs());
        let hint = format!("mount | grep ' {name} '    shows its server: is it up?");
        return Finding::attention(TOPIC, what).why(out).hint(hint).hint("pcluster doctor network");
    };
    match seen {
        Err(trouble) => missing(asked, &trouble, out),
        Ok(seen) if seen.read_only && seen.has_token => {
            let hint =
                format!("mount -o remount,rw {name}    or: dmesg | tail    says why it became so");
            Finding::attention(TOPIC, format!("{name} is read-only, and was not"))
                .why(out)
                .hint(hint)
        }
        Ok(seen) if seen.free < FULL.0.min(seen.whole / FULL.1).max(1) => {
            let hint = format!("du -xh {name} | sort -h | tail    shows what is large");
            Finding::attention(TOPIC, format!("{name} is full")).why(out).hint(hint)
        }
        Ok(seen) if seen.read_only || !seen.writable => {
            Finding::note(TOPIC, format!("{name} cannot be written by the head")).why(
                "nodes only look whether it is there, and cannot tell it from another of its name",
            )
        }
        Ok(seen) => Finding::ok(TOPIC, format!("{name} answers, {} free", size(seen.free))),
    }
}

/// A path that the head does not see, or cannot read.
fn missing(asked: &Asked<'_>, trouble: &str, out: String) -> Finding {
    let name = &asked.share.path;
    let what = format!("{name} {trouble}");
    let made = asked.share.source == ShareSource::Head && name == "/shared";
    if made && trouble == "is not there" {
        return Finding::note(TOPIC, format!("{name} is made with the first node"));
    }
    if !asked.here {
        return Finding::note(TOPIC, format!("{what} on this machine"))
            .why("where only nodes have it, they only look whether it is there");
    }
    let hint =
        format!("mkdir -p {name}, mount it, or name another: storage = {{ shared = \"…\" }}");
    Finding::attention(TOPIC, what).why(out).hint(hint)
}

/// The servers of shared paths that nodes mount themselves.
#[must_use]
pub fn servers(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for asked in asked(config) {
        let ShareSource::Nfs(source) = &asked.share.source else { continue };
        let host = source.rsplit_once(':').map_or(source.as_str(), |(host, _)| host).to_owned();
        let path = &asked.share.path;
        let host = host.trim_matches(['[', ']']).to_owned();
        let of = host.clone();
        let why = format!("nodes of pool {} mount {path} from it", asked.pools.join(", "));
        found.push(match within(move || reach(&of, NFS_PORT)) {
            Some(Ok(())) => {
                Finding::ok(Topic::Network, format!("{host} answers: the server of {path}"))
            }
            Some(Err(trouble)) => Finding::attention(
                Topic::Network,
                format!("{host}, the server of {path}, {trouble}"),
            )
            .why(why)
            .hint(format!("showmount -e {host}    or: rpcinfo -t {host} nfs")),
            None => {
                let what = format!("{host}, the server of {path}, does not answer");
                Finding::attention(Topic::Network, what).why(why).hint(format!("ping {host}"))
            }
        });
    }
    found
}

fn reach(host: &str, port: u16) -> Result<(), String> {
    let addresses = (host, port).to_socket_addrs();
    let addresses =
        addresses.map_err(|_| "has no address: its name is not known here".to_owned())?;
    let mut trouble = "has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE / 2) {
            Ok(_) => return Ok(()),
            Err(error) => trouble = format!("does not take connections: {}", plain(&error)),
        }
    }
    Err(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_api::Level;
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    use std::net::SocketAddr;

    fn share(path: &str, source: ShareSource) -> Share {
        Share { path: path.into(), source, size_bytes: None }
    }

    fn of(path: &str, source: ShareSource, here: bool) -> Finding {
        let share = share(path, source);
        super::path(&Asked { share: &share, here, pools: vec!["compute"] }, ".pcluster/c")
    }

    #[test]
    fn a_path_is_judged_by_what_is_there() {
        let folder = std::env::temp_dir().join(format!("pcc-paths-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.display().to_string();
        assert_eq!(of(&path, ShareSource::Mounted, true).level, Level::Ok);
        let none = format!("{path}/none");
        let found = of(&none, ShareSource::Mounted, true);
        assert_eq!(found.level, Level::Attention);
        assert!(found.what.ends_with("is not there") && found.why.contains("pool compute"));
        assert!(found.hints[0].starts_with("mkdir -p "), "{found:?}");
        // Where nodes are elsewhere they may have it.
        assert_eq!(of(&none, ShareSource::Mounted, false).level, Level::Note);
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        let found = of(&file.display().to_string(), ShareSource::Head, true);
        assert!(found.what.ends_with("is not a directory"), "{found:?}");
        assert_eq!(of("/", ShareSource::Mounted, true).level, Level::Ok);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_nodes_in_ec2_mount_from_here_needs_a_server_here() {
        let text = "provider = \"ec2\"\nhead = { address = \"10.0.0.1\" }\n\
                    compute = { types = [\"c6i.large\"] }\nstorage = { shared = \"/shared\" }\n";
        let config = pcluster_config::samples::config;
        // Whatever this machine serves.
        let found = exports(&config(text)).expect("something is mounted from here");
        let said = format!("{} {}", found.what, found.why);
        assert!(said.contains("/home and /shared"), "{found:?}");
        let silent = exported("/shared", None, false);
        assert!(silent.level == Level::Attention && !silent.hints.is_empty(), "{silent:?}");
        assert_eq!(exported("/shared", None, true).level, Level::Ok);
        let lack = Trouble { what: "there is no server".into(), help: "make one".into() };
        let lacks = exported("/shared", Some(lack), false);
        assert!(lacks.level == Level::Attention && lacks.hints == ["make one"], "{lacks:?}");
        let mounted = text.replace("shared = \"/shared\"", "from = \"mounted\", home = \"local\"");
        assert_eq!(exports(&config(&mounted)), None);
    }

    #[test]
    fn a_server_that_takes_no_connections_is_told_as_such() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(reach("127.0.0.1", port), Ok(()));
        // Held, so that nobody else listens there meanwhile, and not listened to.
        let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = SocketAddr::try_from(getsockname(&held).unwrap()).unwrap().port();
        assert!(reach("127.0.0.1", port).unwrap_err().contains("does not take connections"));
        assert!(reach("no.such.host.invalid", 1).unwrap_err().contains("has no address"));
    }
}

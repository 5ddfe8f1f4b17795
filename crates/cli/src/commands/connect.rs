//! `connect`: makes this machine a client of a head on another one, over SSH.
//!
//! Invariant: what is remembered was tried: the machine's key was accepted, and the head answered this account.
//! Deliberately absent: sessions that last; every command opens its own.
use crate::cluster::{Global, surroundings};
use crate::failure::{Failure, Outcome, code};
use crate::say;
use clap::Args;
use pcluster_client::known::{self, KnownHead};
use pcluster_ssh::{Link, SshError, Target, Trust};
use serde::Serialize;
use std::path::PathBuf;

/// Use a head that runs on another machine: every later command goes there over SSH
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster connect ana@head.example          remembers the cluster that runs there
  pcluster connect ana@head.example -C lab   where several run
  pcluster queue                             from now on: that cluster's, as ana
  pcluster connect                           which clusters this user is connected to
  pcluster connect --forget lab

Commands reach the head's socket there as that account: no token, no open port. Scripts travel; jobs
run in the account's home there unless --chdir says otherwise, and take no environment along but what
--export names. A cluster.toml in this folder or above it means its own cluster.")]
pub struct ConnectArgs {
    /// The account and machine: USER@HOST or USER@HOST:PORT
    pub target: Option<String>,
    /// Accept this key of the machine, if it is the one that it shows
    #[arg(long, value_name = "SHA256:...")]
    pub host_key: Option<String>,
    /// The private key to be let in with, and no other
    #[arg(short, long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// The head's socket there, where it is not in the usual place
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,
    /// Forget the connection to a cluster
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    pub forget: Option<String>,
}

/// Asks the account's machine for its home and for the sockets of heads that it may speak to.
const LOOK_AROUND: &str = "sh -c 'echo \"home $HOME\"; u=$(id -u); \
for s in \"${PCLUSTER_RUNTIME_DIR:-/none}\"/*/head.sock \"${XDG_RUNTIME_DIR:-/run/user/$u}\"/pcluster/*/head.sock \
/tmp/pcluster-$u/pcluster/*/head.sock /run/pcluster/*/head.sock; do \
if [ -S \"$s\" ]; then echo \"socket $s\"; fi; done'";

#[derive(Serialize)]
struct Connections {
    schema: &'static str,
    heads: Vec<Connection>,
}

#[derive(Serialize)]
struct Connection {
    cluster: String,
    ssh: String,
    socket: String,
    home: String,
}

/// `connect`.
///
/// # Errors
/// A machine that is not trusted or lets nobody in, and a place without a head.
pub async fn run(global: &Global, args: &ConnectArgs) -> Outcome {
    let here = surroundings();
    if let Some(name) = &args.forget {
        if !KnownHead::forget(&here, name)? {
            return Err(Failure::no_such(format!("there is no connection to a cluster {name}"))
                .hint("pcluster connect    lists them"));
        }
        say::line(format!("forgot {name}; nothing changes there"));
        return Ok(code::DONE);
    }
    let Some(target) = &args.target else { return list(global) };
    let target: Target = target.parse().map_err(|why: String| {
        Failure::usage(format!("`{target}`: {why}")).hint("pcluster connect ana@head.example")
    })?;
    let link = opened(&target, args)?;
    let found = look_around(&link, &target).await?;
    let socket = chosen(global, args, &target, &found.sockets)?;
    let mut head = KnownHead {
        name: String::new(),
        ssh: target.to_string(),
        host_key: link.host_key().to_owned(),
        socket,
        home: found.home,
        identity: args.identity.as_ref().map(std::path::absolute).transpose()?,
    };
    let status = head.client()?.status().await?;
    head.name = status.cluster.clone();
    let file = head.save(&here)?;
    if global.json {
        say::json(&connections(vec![head]))?;
    } else {
        say::line(format!("connected to {}: {} on {target}", head.name, status.provider));
        say::line(format!("  remembered {}", file.display()));
        say::line(format!("hint: pcluster -C {} queue   pcluster -C {0} submit job.sh", head.name));
    }
    Ok(code::DONE)
}

fn connections(heads: Vec<KnownHead>) -> Connections {
    let heads = heads.into_iter().map(|head| Connection {
        cluster: head.name,
        ssh: head.ssh,
        socket: head.socket,
        home: head.home,
    });
    Connections { schema: "pcluster.connections/1", heads: heads.collect() }
}

fn list(global: &Global) -> Outcome {
    let heads = known::all(&surroundings())?;
    if global.json {
        say::json(&connections(heads))?;
    } else if heads.is_empty() {
        say::line("not connected to any head");
        say::line("hint: pcluster connect USER@HOST");
    } else {
        for head in heads {
            say::data(&format!("{}  {}\n", head.name, head.ssh))?;
        }
    }
    Ok(code::DONE)
}

/// A session with the machine; on a terminal its key may be accepted by a word.
fn opened(target: &Target, args: &ConnectArgs) -> Result<Link, Failure> {
    let file = surroundings().home.map(|home| home.join(".ssh/known_hosts"));
    let open = |accept: Option<String>| {
        let trust = Trust::Known { file: file.clone(), accept };
        Link::open(target, trust, known::keys(args.identity.as_deref()))
    };
    let told = |error| known::told(error, "NAME");
    match open(args.host_key.clone()) {
        Err(SshError::UnknownHost { fingerprint, .. })
            if args.host_key.is_none() && is_accepted(target, &fingerprint)? =>
        {
            open(Some(fingerprint)).map_err(told)
        }
        other => other.map_err(told),
    }
}

fn is_accepted(target: &Target, fingerprint: &str) -> Result<bool, Failure> {
    let question = format!(
        "the host key of {target} is not known here; it shows {fingerprint}\nis that its key? [yes/no] "
    );
    Ok(say::ask(&question)?.is_some_and(|answer| answer == "yes"))
}

struct Found {
    home: String,
    sockets: Vec<String>,
}

async fn look_around(link: &Link, target: &Target) -> Result<Found, Failure> {
    let said = link.run(LOOK_AROUND, Vec::new()).await;
    let said = said.map_err(|error| known::told(error, "NAME"))?;
    let text = String::from_utf8_lossy(&said.out).into_owned();
    let of = |what: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let home = of("home ").into_iter().find(|home| home.starts_with('/'));
    let home = home.ok_or_else(|| {
        Failure::refused(format!("{target} lets in, and runs no commands of a shell"))
            .fact("it said", String::from_utf8_lossy(&said.err).trim().to_owned())
    })?;
    let mut sockets = of("socket ");
    sockets.dedup();
    Ok(Found { home, sockets })
}

/// The folder of a socket is the cluster's name.
fn name_of(socket: &str) -> &str {
    socket.rsplit('/').nth(1).unwrap_or_default()
}

fn chosen(
    global: &Global,
    args: &ConnectArgs,
    target: &Target,
    sockets: &[String],
) -> Result<String, Failure> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let is_meant =
        |socket: &&String| global.cluster.as_ref().is_none_or(|name| name_of(socket) == name);
    let meant: Vec<&String> = sockets.iter().filter(is_meant).collect();
    match meant[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::no_head(format!(
            "no head that {} may use runs on {}",
            target.user, target.host
        ))
        .hint("pcluster up    there starts one; --socket PATH names one in an unusual place")),
        [first, ..] => {
            let names: Vec<&str> = meant.iter().map(|socket| name_of(socket)).collect();
            Err(Failure::usage("several clusters could be meant")
                .fact("there", names.join(", "))
                .hint(format!("pcluster connect {target} -C {}", name_of(first))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(sockets: &[&str], cluster: Option<&str>) -> Result<String, Failure> {
        let global = Global { cluster: cluster.map(str::to_owned), ..Global::default() };
        let args = ConnectArgs {
            target: None,
            host_key: None,
            identity: None,
            socket: None,
            forget: None,
        };
        let sockets: Vec<String> = sockets.iter().map(|&socket| socket.to_owned()).collect();
        chosen(&global, &args, &"ana@head".parse().unwrap(), &sockets)
    }

    #[test]
    fn the_only_head_is_meant_or_the_one_that_is_named() {
        let (lab, old) = ("/run/pcluster/lab/head.sock", "/run/user/7/pcluster/old/head.sock");
        assert_eq!(choice(&[lab], None).unwrap(), lab);
        assert_eq!(choice(&[lab, old], Some("old")).unwrap(), old);
        assert!(choice(&[], None).is_err());
        assert!(choice(&[lab], Some("old")).is_err());
        assert!(choice(&[lab, old], None).is_err());
    }
}

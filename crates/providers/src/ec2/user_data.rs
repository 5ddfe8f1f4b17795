//! User data: what turns an image into a node. The same for all machines of a launch; each picks its own order
//! by its index.
//!
//! Invariant: the same order gives the same bytes, or EC2 would refuse the launch's token; a machine that does
//! not become a node ends itself. It holds one secret, the launch's one-time token. Deliberately absent: what
//! needs no root, and everything that the agent can do itself.
use super::scratch::Scratch;
use crate::provider::LaunchOrder;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::{Compression, GzBuilder};
use pcluster_wire::{JoinOrder, NODE_HEADER, TOKEN_HEADER, program_path};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;

const SCRIPT: &str = include_str!("user-data.sh");
const BOOT: &str = include_str!("boot.py");
/// EC2's bound.
const LARGEST: usize = 16_384;
/// A machine whose agent has not been started by then ends itself, in seconds. From then on the agent decides.
const PATIENCE_S: u32 = 600;

/// The user data of an order, packed.
///
/// # Errors
/// Why there is none, for people.
pub(super) fn user_data(order: &LaunchOrder, scratch: Scratch) -> Result<Vec<u8>, String> {
    let packed = pack(script(order, scratch)?.as_bytes()).map_err(|error| error.to_string())?;
    if packed.len() > LARGEST {
        let (is, most) = (packed.len(), LARGEST);
        return Err(format!(
            "the orders of {} machines have {is} bytes, EC2 takes {most}",
            order.count
        ));
    }
    Ok(packed)
}

/// Before it is packed.
pub(super) fn script(order: &LaunchOrder, scratch: Scratch) -> Result<String, String> {
    let first = order.joins.first().ok_or("the launch has no machines")?;
    let join: JoinOrder = serde_json::from_str(first)
        .map_err(|error| format!("the order is not understood: {error}"))?;
    let programs = program_path(pcluster_model::BlobHash([0; 32]));
    let programs = programs.trim_end_matches('0');
    let boot = BOOT
        .replace("@NODE_HEADER@", NODE_HEADER)
        .replace("@TOKEN_HEADER@", TOKEN_HEADER)
        .replace("@PROGRAMS@", programs);
    Ok(SCRIPT
        .replace("@PATIENCE@", &PATIENCE_S.to_string())
        .replace("@NAME@", &plain(&order.cluster_name))
        .replace("@IDENTITY@", identity(&join.token)?.trim_end())
        .replace("@JOINS@", &joins(&order.joins)?)
        .replace("@BOOT@", boot.trim_end())
        .replace("@SCRATCH@", scratch.script().trim_end()))
}

/// Names of clusters are plain; a shell script takes no chances.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

/// What all orders have in common, and what is each one's own.
fn joins(orders: &[String]) -> Result<String, String> {
    let read = |text: &String| serde_json::from_str::<Map<String, Value>>(text);
    let all: Result<Vec<Map<String, Value>>, _> = orders.iter().map(read).collect();
    let all = all.map_err(|error| format!("an order is not understood: {error}"))?;
    let mut common = all.first().cloned().unwrap_or_default();
    common.retain(|key, value| all.iter().all(|one| one.get(key) == Some(value)));
    let own = |one: Map<String, Value>| {
        let rest = one.into_iter().filter(|(key, _)| !common.contains_key(key));
        Value::Object(rest.collect())
    };
    let own: Vec<Value> = all.into_iter().map(own).collect();
    // The machine says itself which one it is.
    common.remove("instance");
    serde_json::to_string(&serde_json::json!({"common": common, "own": own}))
        .map_err(|error| error.to_string())
}

/// A key for the one connection before the agent has its own: the head's port takes no connection without. It
/// proves nothing, and follows from the token that is beside it.
fn identity(token: &str) -> Result<String, String> {
    let seed = Sha256::new().chain_update(b"pcluster boot 1\0").chain_update(token).finalize();
    // A PKCS #8 Ed25519 key is this beginning and its seed.
    let mut key = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    key.extend_from_slice(&seed);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key.as_slice().into(), &PKCS_ED25519);
    let pair = pair.map_err(|error| error.to_string())?;
    let params = CertificateParams::new(vec!["pcluster-boot".to_owned()]);
    let certificate = params.and_then(|params| params.self_signed(&pair));
    let certificate = certificate.map_err(|error| error.to_string())?;
    Ok(format!("{}{}", pem("PRIVATE KEY", &key), pem("CERTIFICATE", certificate.der())))
}

fn pem(name: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut lines = String::new();
    for (at, letter) in text.char_indices() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    format!("-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n")
}

/// Packed without a time or a name in it.
fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::tests::order;
    use std::process::{Command, Stdio};

    const VOLUME: Scratch = Scratch::Volume { gib: 95 };

    /// What a program says of a text on its input.
    fn says(program: &[&str], text: &str) -> String {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it is installed");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let said = child.wait_with_output().unwrap();
        assert!(said.status.success(), "{program:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn part<'a>(script: &'a str, name: &str) -> &'a str {
        let rest = script.split_once(&format!("/{name}\" <<'PCLUSTER'\n")).unwrap().1;
        rest.split_once("PCLUSTER\n").unwrap().0
    }

    #[test]
    fn the_same_order_is_the_same_bytes_and_another_one_is_not() {
        let one = user_data(&order(7, 3), VOLUME).unwrap();
        assert_eq!(one, user_data(&order(7, 3), VOLUME).unwrap());
        assert_ne!(one, user_data(&order(8, 3), VOLUME).unwrap());
        assert_eq!(one[..2], [0x1f, 0x8b]);
    }

    #[test]
    fn each_machine_finds_its_own_order() {
        let order = order(7, 3);
        let text = script(&order, VOLUME).unwrap();
        assert!(!text.contains('@') || !text.contains("@JOINS@"), "{text}");
        let orders: Value = serde_json::from_str(part(&text, "boot.json")).unwrap();
        for index in 0..3 {
            let mut whole = orders["common"].as_object().unwrap().clone();
            whole.extend(orders["own"][index].as_object().unwrap().clone());
            whole.insert("instance".into(), "i-1".into());
            let join: JoinOrder = serde_json::from_value(Value::Object(whole)).unwrap();
            let mut wanted: JoinOrder = serde_json::from_str(&order.joins[index]).unwrap();
            wanted.instance = "i-1".into();
            assert_eq!(join, wanted);
        }
        assert!(orders["own"][0].get("token").is_none(), "what all have is there once");
    }

    #[test]
    fn five_hundred_machines_fit() {
        let packed = user_data(&order(7, 500), VOLUME).unwrap();
        assert!(packed.len() < LARGEST, "{}", packed.len());
        assert!(user_data(&order(7, 0), VOLUME).is_err());
    }

    #[test]
    fn shell_python_and_openssl_read_it() {
        let text = script(&order(7, 2), VOLUME).unwrap();
        says(&["sh", "-n"], &text);
        says(
            &["python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())"],
            part(&text, "boot.py"),
        );
        let pem = part(&text, "boot.pem");
        assert_eq!(pem.lines().filter(|line| line.starts_with("-----BEGIN")).count(), 2, "{pem}");
        for left in [
            "@NODE_HEADER@",
            "@TOKEN_HEADER@",
            "@PROGRAMS@",
            "@NAME@",
            "@BOOT@",
            "@PATIENCE@",
            "@SCRATCH@",
        ] {
            assert!(!text.contains(left), "{left}");
        }
        assert!(text.contains("\nscratch=volume gib=95\n"), "{text}");
        assert!(!script(&order(7, 2), Scratch::Root).unwrap().contains("scratch"));
        assert!(text.contains("\"/node/v1/agents/\" + program[\"sha256\"]"));
    }
}

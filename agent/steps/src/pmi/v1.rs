//! Version 1: lines of `name=value` words.
use super::{Act, Local, Version};

/// The next command: a line, or the lines from `mcmd=` to `endcmd`.
pub(super) fn command(buffer: &mut Vec<u8>) -> Option<String> {
    let end = if buffer.starts_with(b"mcmd=") {
        let mark = b"endcmd\n";
        buffer.windows(mark.len()).position(|window| window == mark)? + mark.len()
    } else {
        buffer.iter().position(|byte| *byte == b'\n')? + 1
    };
    let line: Vec<u8> = buffer.drain(..end).collect();
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// The value of a name; `value` is the rest of the line.
fn value<'a>(command: &'a str, name: &str) -> Option<&'a str> {
    if name == "value" {
        return command.split_once(" value=").map(|(_, rest)| rest);
    }
    let words = command.split_ascii_whitespace();
    words.filter_map(|word| word.split_once('=')).find(|(its, _)| *its == name).map(|(_, v)| v)
}

pub(super) fn barrier_out() -> Vec<u8> {
    b"cmd=barrier_out rc=0\n".to_vec()
}

pub(super) fn obey(local: &mut Local, at: usize, command: &str) -> Vec<Act> {
    let say = |text: String| vec![Act::Say { at, bytes: text.into_bytes() }];
    if command.starts_with("mcmd=spawn") {
        return say("cmd=spawn_result rc=-1 msg=more_tasks_cannot_be_started\n".into());
    }
    match value(command, "cmd").unwrap_or("") {
        "init" => {
            let two = value(command, "pmi_version") == Some("2");
            let peer = &mut local.peers[at];
            peer.started = true;
            peer.version = if two { Version::Two } else { Version::One };
            let (version, sub) = if two { (2, 0) } else { (1, 1) };
            say(format!("cmd=response_to_init pmi_version={version} pmi_subversion={sub} rc=0\n"))
        }
        "get_maxes" => say("cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024 rc=0\n".into()),
        "get_appnum" => say("cmd=appnum appnum=0 rc=0\n".into()),
        "get_my_kvsname" => say(format!("cmd=my_kvsname kvsname={} rc=0\n", local.name)),
        "get_universe_size" => say(format!("cmd=universe_size size={} rc=0\n", local.size)),
        "put" => {
            let Some(key) = value(command, "key").filter(|key| !key.is_empty()) else {
                return say("cmd=put_result rc=-1 msg=no_key\n".into());
            };
            if !local.put(key, value(command, "value").unwrap_or("")) {
                return say("cmd=put_result rc=-1 msg=no_room\n".into());
            }
            say("cmd=put_result rc=0 msg=success\n".into())
        }
        "get" => {
            let key = value(command, "key").unwrap_or("");
            say(match local.space.get(key) {
                Some(value) => format!("cmd=get_result rc=0 msg=success value={value}\n"),
                None => format!("cmd=get_result rc=-1 msg=key_{key}_not_found value=unknown\n"),
            })
        }
        "barrier_in" => local.enter(at, None),
        "finalize" => {
            local.peers[at].finished = true;
            say("cmd=finalize_ack rc=0\n".into())
        }
        "abort" => {
            let code = value(command, "exitcode").and_then(|code| code.parse().ok()).unwrap_or(1);
            // It ends by its own wish: nobody has to say so a second time.
            local.peers[at].finished = true;
            vec![Act::Abort { at, code, text: String::new() }]
        }
        "publish_name" => say("cmd=publish_result rc=-1 msg=not_supported\n".into()),
        "unpublish_name" => say("cmd=unpublish_result rc=-1 msg=not_supported\n".into()),
        "lookup_name" => say("cmd=lookup_result rc=-1 msg=not_supported\n".into()),
        "" => Vec::new(),
        other => say(format!("cmd={other}_result rc=-1 msg=unknown_command\n")),
    }
}

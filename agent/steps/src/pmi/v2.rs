//! Version 2: six digits of length, then `name=value;` words. A semicolon in a value is doubled.
use super::{Act, Local, WANTS};

const LENGTH: usize = 6;

/// The next command, without its length.
pub(super) fn command(buffer: &mut Vec<u8>) -> Option<String> {
    let head = buffer.first_chunk::<LENGTH>()?;
    let length = std::str::from_utf8(head).ok().and_then(|text| text.trim().parse::<usize>().ok());
    let Some(length) = length else {
        // Nothing that can be answered: what is there is thrown away.
        buffer.clear();
        return None;
    };
    if buffer.len() < LENGTH + length {
        return None;
    }
    let text = String::from_utf8_lossy(&buffer[LENGTH..LENGTH + length]).into_owned();
    buffer.drain(..LENGTH + length);
    Some(text)
}

/// All words of a command in order.
fn words(command: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        if c != ';' {
            word.push(c);
        } else if chars.next_if_eq(&';').is_some() {
            word.push(';');
        } else if let Some((name, value)) = std::mem::take(&mut word).split_once('=') {
            out.push((name.trim().to_owned(), value.to_owned()));
        }
    }
    if let Some((name, value)) = word.trim_end().split_once('=') {
        out.push((name.trim().to_owned(), value.to_owned()));
    }
    out
}

fn answer(command: &str, thread: Option<&str>, rest: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("cmd={command}-response;");
    let thread = thread.map(|thread| ("thrid", thread));
    for (name, value) in thread.iter().chain(rest) {
        text.push_str(&format!("{name}={};", value.replace(';', ";;")));
    }
    format!("{:6}{text}", text.len()).into_bytes()
}

pub(super) fn barrier_out(thread: Option<&str>) -> Vec<u8> {
    answer("kvs-fence", thread, &[("rc", "0")])
}

/// What was looked for, or that it is not there.
fn looked_up(command: &str, thread: Option<&str>, value: Option<&str>) -> Vec<u8> {
    let found = if value.is_some() { "TRUE" } else { "FALSE" };
    let rest = [("found", found), ("value", value.unwrap_or("")), ("rc", "0")];
    let without_value = [("found", found), ("rc", "0")];
    answer(command, thread, if value.is_some() { &rest } else { &without_value })
}

pub(super) fn obey(local: &mut Local, at: usize, command: &str) -> Vec<Act> {
    let words = words(command);
    let get = |name: &str| words.iter().find(|(its, _)| its == name).map(|(_, v)| v.as_str());
    let thread = get("thrid");
    let key = get("key").unwrap_or("");
    let value = get("value").unwrap_or("");
    let name = get("cmd").unwrap_or("");
    let say = |bytes: Vec<u8>| vec![Act::Say { at, bytes }];
    let done = || say(answer(name, thread, &[("rc", "0")]));
    match name {
        "fullinit" => {
            let rank = local.peers[at].number.to_string();
            let size = local.size.to_string();
            say(answer(
                name,
                thread,
                &[
                    ("pmi-version", "2"),
                    ("pmi-subversion", "0"),
                    ("rank", &rank),
                    ("size", &size),
                    ("appnum", "0"),
                    ("debugged", "FALSE"),
                    ("pmiverbose", "FALSE"),
                    ("rc", "0"),
                ],
            ))
        }
        "job-getid" => say(answer(name, thread, &[("jobid", &local.name), ("rc", "0")])),
        "job-connect" | "job-disconnect" => refused(name, thread, at),
        "kvs-put" if local.put(key, value) => done(),
        "kvs-put" => no_room(name, thread, at),
        "kvs-get" => say(looked_up(name, thread, local.space.get(key).map(String::as_str))),
        "kvs-fence" => local.enter(at, thread.map(str::to_owned)),
        "info-putnodeattr" => put_node(local, at, thread, key, value),
        "info-getnodeattr" => match local.node.get(key) {
            None if get("wait") == Some("TRUE") && local.peers[at].wants.len() >= WANTS => {
                no_room(name, thread, at)
            }
            None if get("wait") == Some("TRUE") => {
                let waits = (key.to_owned(), thread.map(str::to_owned));
                local.peers[at].wants.push(waits);
                Vec::new()
            }
            found => say(looked_up(name, thread, found.map(String::as_str))),
        },
        "info-getjobattr" => {
            let size = local.size.to_string();
            let found = match key {
                "PMI_process_mapping" => Some(local.mapping.as_str()),
                "universeSize" => Some(size.as_str()),
                _ => None,
            };
            say(looked_up(name, thread, found.filter(|text| !text.is_empty())))
        }
        "finalize" => {
            local.peers[at].finished = true;
            done()
        }
        "abort" => {
            local.peers[at].finished = true;
            let text = get("msg").unwrap_or("").to_owned();
            vec![Act::Abort { at, code: 1, text }]
        }
        other => refused(other, thread, at),
    }
}

fn refused(name: &str, thread: Option<&str>, at: usize) -> Vec<Act> {
    let rest = [("rc", "-1"), ("errmsg", "not supported")];
    vec![Act::Say { at, bytes: answer(name, thread, &rest) }]
}

fn no_room(name: &str, thread: Option<&str>, at: usize) -> Vec<Act> {
    let rest = [("rc", "-1"), ("errmsg", "no room")];
    vec![Act::Say { at, bytes: answer(name, thread, &rest) }]
}

fn put_node(
    local: &mut Local,
    at: usize,
    thread: Option<&str>,
    key: &str,
    value: &str,
) -> Vec<Act> {
    if !local.takes(key, value) {
        return no_room("info-putnodeattr", thread, at);
    }
    local.node.insert(key.to_owned(), value.to_owned());
    let mut acts = vec![Act::Say { at, bytes: answer("info-putnodeattr", thread, &[("rc", "0")]) }];
    for (other, peer) in local.peers.iter_mut().enumerate() {
        let (wants, rest) =
            std::mem::take(&mut peer.wants).into_iter().partition(|(k, _)| k == key);
        peer.wants = rest;
        let wants: Vec<(String, Option<String>)> = wants;
        for (_, thread) in wants {
            let bytes = looked_up("info-getnodeattr", thread.as_deref(), Some(value));
            acts.push(Act::Say { at: other, bytes });
        }
    }
    acts
}

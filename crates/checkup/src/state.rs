//! The state of the head: is it there, does its end read back, and was the cluster taken down.
use crate::plain;
use pcluster_api::{Finding, Topic};
use pcluster_upkeep::{Quick, UpkeepError, quick};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const TOPIC: Topic = Topic::Head;
/// The log's last event may be this much later than the clock, in milliseconds: nodes allow as much.
const AHEAD: i64 = 5 * 60 * 1000;

/// What is known without the head. `running`: it answers.
#[must_use]
pub fn state(dir: &Path, running: bool) -> Vec<Finding> {
    let none = || {
        let found = Finding::note(TOPIC, "no head of this cluster has run here yet");
        vec![if running { found } else { found.hint("pcluster up    starts it") }]
    };
    match fs::read_dir(dir) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return none(),
        Err(error) => {
            let what = format!("the state in {} cannot be read: {}", dir.display(), plain(&error));
            let found = Finding::note(TOPIC, what).why("only the head's own user may");
            return vec![found.hint("sudo pcluster doctor    looks there, too")];
        }
    }
    match quick(dir) {
        Ok(quick) => of(&quick, dir, running, now_ms()),
        Err(UpkeepError::NoState(_)) if !running => none(),
        Err(error) => {
            let words = error.to_string();
            let mut lines = words.lines();
            let what = format!("the state is not in order: {}", lines.next().unwrap_or_default());
            let found = Finding::attention(TOPIC, what).why(lines.collect::<Vec<_>>().join(" "));
            vec![found.hint("pcluster admin verify    looks at all of it").hint(RESTORE)]
        }
    }
}

const RESTORE: &str =
    "pcluster admin restore COPY    brings a copy back, into an empty state directory";

fn of(quick: &Quick, dir: &Path, running: bool, now_ms: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    let events = quick.last;
    found.push(if quick.wrong.is_empty() {
        let what =
            format!("the state reads back: {events} events, the last {} checked", quick.checked);
        Finding::ok(TOPIC, format!("{what}, in {}", dir.display()))
    } else {
        Finding::attention(TOPIC, format!("the state is not in order: {}", quick.wrong[0]))
            .why(quick.wrong[1..].join("; "))
            .hint("pcluster admin verify    looks at all of it")
    });
    if !running {
        found.push(if quick.closed {
            Finding::note(TOPIC, "the cluster is down, as somebody asked").hint("pcluster up")
        } else {
            Finding::attention(TOPIC, "the head does not run, and nobody took the cluster down")
                .why("it ended or was killed; jobs that run go on, and nothing new begins")
                .hint("pcluster up    its nodes dial in again, and nothing accepted is lost")
        });
    }
    let ahead = quick.last_at_ms.saturating_sub(now_ms);
    if ahead > AHEAD {
        let what =
            format!("the clock went back: the last event is {} min ahead of it", ahead / 60_000);
        found.push(
            Finding::attention(Topic::Machine, what)
                .why("nodes whose clock is more than 5 min from the head's fail to boot")
                .hint("apt install systemd-timesyncd    or: date -s 'YYYY-MM-DD HH:MM'"),
        );
    }
    found
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_api::Level;

    fn seen(closed: bool, running: bool, last_at_ms: i64) -> Vec<(Level, String)> {
        let quick = Quick { last: 9, checked: 9, last_at_ms, closed, wrong: Vec::new() };
        let found = of(&quick, Path::new("/s"), running, 0);
        found.into_iter().map(|one| (one.level, one.what)).collect()
    }

    #[test]
    fn a_head_that_is_missing_matters_unless_the_cluster_was_taken_down() {
        assert_eq!(seen(false, true, 0).len(), 1);
        assert_eq!(seen(true, false, 0)[1].0, Level::Note);
        assert_eq!(seen(false, false, 0)[1].0, Level::Attention);
    }

    #[test]
    fn a_clock_behind_the_log_is_told() {
        let found = seen(false, true, 7 * 60_000);
        assert_eq!(
            found[1],
            (Level::Attention, "the clock went back: the last event is 7 min ahead of it".into())
        );
    }

    #[test]
    fn a_state_that_never_was_is_no_trouble() {
        let found = state(Path::new("/nowhere/at/all"), false);
        assert_eq!(found[0].level, Level::Note);
    }
}

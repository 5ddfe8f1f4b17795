//! This command's standard input, or a file, on its way to tasks.
//!
//! Invariant: a file that each task has for itself is not read here.
use super::asks::Source;
use super::names::{Facts, Place, fill, is_per_task};
use pcluster_steps::feed::Feed;
use pcluster_steps::message::EVERY_TASK;

/// Starts to read.
///
/// # Errors
/// A file that cannot be opened.
pub(super) fn start(source: &Source, parts: usize, facts: &Facts) -> Result<Feed, String> {
    Ok(match source {
        Source::Nothing => Feed::none(),
        // The tasks read these themselves.
        Source::File(pattern) if is_per_task(pattern) => Feed::none(),
        Source::File(pattern) => {
            let path = fill(pattern, facts, &Place::default());
            let file = std::fs::File::open(&path);
            let file =
                file.map_err(|error| format!("Could not open stdin file {path}: {error}"))?;
            Feed::of(file, EVERY_TASK, parts)
        }
        Source::All => Feed::of(std::io::stdin(), EVERY_TASK, parts),
        Source::Task(task) => Feed::of(std::io::stdin(), *task, parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_steps::message::Message;

    #[tokio::test]
    async fn a_file_is_named_as_outputs_are_and_read_by_its_tasks_where_each_has_one() {
        let folder = std::env::temp_dir().join(format!("pct-feed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("in-41"), "text").unwrap();
        let facts = Facts { job: 41, dir: folder.display().to_string(), ..Facts::default() };
        let begin = |name: &str| start(&Source::File(name.into()), 1, &facts);
        let mut feed = begin("in-%j").unwrap();
        assert!(feed.wants());
        assert!(matches!(feed.next().await, Message::Data { bytes, .. } if bytes == b"text"));
        assert!(!begin("in-%t").unwrap().wants());
        let missing = begin("out-%j").unwrap_err();
        assert!(missing.contains("/out-41: No such file"), "{missing}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

//! This command's standard input, or a file, on its way to tasks.
//!
//! Invariant: so much is under way at most, at every part; the slowest task decides.
use super::asks::Source;
use super::names::{Facts, Place, fill, is_per_task};
use pcluster_steps::message::{Channel, EVERY_TASK, Message, ToNode};
use std::io::Read;
use tokio::sync::mpsc;

/// One piece.
const PIECE: usize = 32 << 10;
/// Under way to a part at most.
const WINDOW: u64 = 256 << 10;

/// What is read, and how much of it each part has not taken yet.
#[derive(Debug)]
pub(super) struct Feed {
    pieces: mpsc::Receiver<Vec<u8>>,
    task: u32,
    /// Of each part; none of one that takes nothing any more.
    under_way: Vec<Option<u64>>,
    over: bool,
}

impl Feed {
    /// Starts to read.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(super) fn start(source: &Source, parts: usize, facts: &Facts) -> Result<Self, String> {
        let (queue, pieces) = mpsc::channel(1);
        let (task, over) = match source {
            Source::Nothing => (EVERY_TASK, true),
            // The tasks read these themselves.
            Source::File(pattern) if is_per_task(pattern) => (EVERY_TASK, true),
            Source::All | Source::File(_) => (EVERY_TASK, false),
            Source::Task(task) => (*task, false),
        };
        match source {
            _ if over => {}
            Source::Nothing => {}
            Source::File(pattern) => {
                let path = fill(pattern, facts, &Place::default());
                let file = std::fs::File::open(&path);
                let file =
                    file.map_err(|error| format!("Could not open stdin file {path}: {error}"))?;
                read(file, queue);
            }
            Source::All | Source::Task(_) => read(std::io::stdin(), queue),
        }
        Ok(Self { pieces, task, under_way: vec![Some(0); parts], over })
    }

    /// Whether more may be sent now.
    pub(super) fn wants(&self) -> bool {
        !self.over && self.under_way.iter().flatten().all(|bytes| *bytes < WINDOW)
    }

    /// The next piece, as the message for every part; the last is empty.
    pub(super) async fn next(&mut self) -> Message<ToNode> {
        let bytes = self.pieces.recv().await.unwrap_or_default();
        self.over |= bytes.is_empty();
        for under_way in self.under_way.iter_mut().flatten() {
            *under_way += u64::try_from(bytes.len()).unwrap_or(0);
        }
        Message::Data { task: self.task, channel: Channel::In, bytes }
    }

    /// A part has taken so much.
    pub(super) fn taken(&mut self, part: usize, bytes: u64) {
        if let Some(Some(under_way)) = self.under_way.get_mut(part) {
            *under_way = under_way.saturating_sub(bytes);
        }
    }

    /// A part takes nothing any more: nobody waits for it.
    pub(super) fn gone(&mut self, part: usize) {
        if let Some(under_way) = self.under_way.get_mut(part) {
            *under_way = None;
        }
    }

    /// Whether this part is still sent something.
    pub(super) fn feeds(&self, part: usize) -> bool {
        self.under_way.get(part).is_some_and(Option::is_some)
    }
}

/// Reads in a thread of its own, which blocks for as long as nothing comes and ends with the process.
fn read(mut from: impl Read + Send + 'static, queue: mpsc::Sender<Vec<u8>>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if queue.blocking_send(buffer[..count].to_vec()).is_ok() => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_is_gone_holds_up_no_other() {
        let (queue, pieces) = mpsc::channel(1);
        let mut feed = Feed { pieces, task: EVERY_TASK, under_way: vec![Some(0); 2], over: false };
        let whole = usize::try_from(WINDOW).unwrap();
        queue.send(vec![0; whole]).await.unwrap();
        feed.next().await;
        assert!(!feed.wants());
        feed.taken(0, WINDOW);
        assert!(!feed.wants(), "the other part has not taken it");
        feed.gone(1);
        assert!(feed.wants() && feed.feeds(0) && !feed.feeds(1));
        queue.send(vec![0; whole]).await.unwrap();
        feed.next().await;
        feed.taken(0, WINDOW);
        assert!(feed.wants());
    }

    #[tokio::test]
    async fn a_file_is_named_as_outputs_are_and_read_by_its_tasks_where_each_has_one() {
        let folder = std::env::temp_dir().join(format!("pct-feed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("in-41"), "text").unwrap();
        let facts = Facts { job: 41, dir: folder.display().to_string(), ..Facts::default() };
        let start = |name: &str| Feed::start(&Source::File(name.into()), 1, &facts);
        let mut feed = start("in-%j").unwrap();
        assert!(feed.wants());
        assert!(matches!(feed.next().await, Message::Data { bytes, .. } if bytes == b"text"));
        assert!(!start("in-%t").unwrap().wants());
        let missing = start("out-%j").unwrap_err();
        assert!(missing.contains("/out-41: No such file"), "{missing}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

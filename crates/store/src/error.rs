//! How the store says no.
use std::path::PathBuf;

/// Why the store cannot be used, or a batch cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A later version wrote it; nothing was touched.
    #[error(
        "{} was written by a newer version of pcluster (format {found}, this one knows up to {known}); it was left untouched",
        path.display()
    )]
    Newer { path: PathBuf, found: i32, known: i32 },
    /// Something else lies under this name; nothing was touched.
    #[error("{} is not an event log of pcluster ({why}); it was left untouched", path.display())]
    NotOurs { path: PathBuf, why: String },
    /// The file is ours and broken.
    #[error(
        "{} is damaged: {detail}\nhint: pcluster admin verify   pcluster admin rebuild (damaged rows)   pcluster admin restore COPY",
        path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    /// Another process writes to it.
    #[error("{} is in use by another process", path.display())]
    Locked { path: PathBuf },
    /// The batch does not follow the last event: memory and disk disagree.
    #[error("event {found} does not follow event {last} of the log")]
    Gap { last: u64, found: u64 },
    /// The disk is full.
    #[error("no space left for {}", path.display())]
    Full { path: PathBuf },
    /// An event that cannot be written as JSON, or read back.
    #[error("event {seq} is not readable: {cause}")]
    Body { seq: u64, cause: String },
    /// Reading or writing failed.
    #[error("cannot use {}: {cause}", path.display())]
    Io { path: PathBuf, cause: String },
}

impl StoreError {
    /// True for trouble with the machine and not with what is in the file: a full disk, another
    /// process, a call that failed. Another try may do.
    #[must_use]
    pub const fn is_of_this_machine(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Io { .. } | Self::Locked { .. })
    }

    /// Sorts what SQLite said into what people can act on.
    pub(crate) fn from_sqlite(path: &std::path::Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, detail: error.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            _ => Self::Io { path, cause: error.to_string() },
        }
    }
}

//! Jobs that are over, from the rows beside the loop: those that are forgotten are nowhere else.
use super::problem::{Failure, broken};
use crate::app::AppState;
use pcluster_core::Job;
use pcluster_core::rows::job_of;
use pcluster_model::JobId;
use pcluster_store::{HistoryFilter, Reader, StoreError};

/// Reads the file in a thread that may wait for the disk.
async fn read<T: Send + 'static>(
    app: &AppState,
    read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let path = app.store_path.clone();
    let read = tokio::task::spawn_blocking(move || read(&Reader::open(&path)?)).await;
    let read = read.map_err(|error| broken("read the history", &error))?;
    read.map_err(|error| broken("read the history", &error))
}

/// The job of this number, with its tasks, as its rows have it.
///
/// # Errors
/// When the file cannot be read.
pub(super) async fn job(app: &AppState, id: JobId) -> Result<Option<Job>, Failure> {
    let key = id.to_string();
    let rows = read(app, move |reader| {
        let job = reader.row("job", &key)?;
        job.map(|job| Ok((reader.tasks_of(&key)?, job))).transpose()
    });
    let job = rows.await?.map(|(tasks, job)| job_of(&job, &tasks)).transpose();
    job.map_err(|error| broken("read the history", &error))
}

/// Jobs that are over, newest first, with their tasks.
///
/// # Errors
/// When the file cannot be read.
pub(super) async fn jobs(app: &AppState, filter: HistoryFilter) -> Result<Vec<Job>, Failure> {
    let rows = read(app, move |reader| {
        let jobs = reader.history(&filter)?.into_iter();
        jobs.map(|job| Ok((reader.tasks_of(&job.key)?, job))).collect::<Result<Vec<_>, _>>()
    });
    let jobs = rows.await?.into_iter().map(|(tasks, job)| job_of(&job, &tasks)).collect();
    let jobs: Result<Vec<Job>, _> = jobs;
    jobs.map_err(|error| broken("read the history", &error))
}

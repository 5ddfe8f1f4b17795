//! One file per command or small family: its options, its examples, and what it asks of the head.
pub mod act;
pub mod admin;
pub mod config;
pub mod connect;
pub mod doctor;
pub mod down;
pub mod env;
pub mod growing;
pub mod image;
pub mod init;
pub mod jobs;
pub mod logs;
pub mod money;
pub mod nodes;
pub mod paper;
mod placing;
pub mod provider;
pub mod run;
pub mod shell;
pub mod status;
pub mod submit;
pub mod up;
pub mod wait;

use crate::failure::Failure;

/// What a word on the command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// `42`, `41_3`, `41_[5-12]`.
    Job(String),
    /// `gpu-7`, or a node's inner id `3.0`.
    Node(String),
}

fn is_job(word: &str) -> bool {
    let (job, task) = word.split_once('_').map_or((word, None), |(job, task)| (job, Some(task)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let ranges = |text: &str| {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        inner.is_some_and(|inner| {
            !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit() || b",-".contains(&b))
        })
    };
    digits(job) && task.is_none_or(|task| digits(task) || ranges(task))
}

/// The id of a job, with or without `job:` before it.
///
/// # Errors
/// When it cannot be one.
pub fn job_id(word: &str) -> Result<String, Failure> {
    let id = word.strip_prefix("job:").unwrap_or(word);
    if is_job(id) {
        return Ok(id.to_owned());
    }
    Err(Failure::usage(format!("`{word}` is not the id of a job"))
        .fact("allowed", "42, a task 41_3, or tasks 41_[5-12]")
        .hint("pcluster queue    shows ids"))
}

/// The name or id of a node, with or without `node:` before it.
///
/// # Errors
/// When it cannot be one.
pub fn node_name(word: &str) -> Result<String, Failure> {
    let name = word.strip_prefix("node:").unwrap_or(word);
    let right = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(right) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!("`{word}` is not the name of a node")).hint("pcluster nodes"))
}

/// A job or a node: numbers are jobs unless `node:` says otherwise.
///
/// # Errors
/// When it can be neither.
pub fn job_or_node(word: &str) -> Result<Named, Failure> {
    if word.starts_with("node:") || !(word.starts_with("job:") || is_job(word)) {
        return node_name(word).map(Named::Node);
    }
    job_id(word).map(Named::Job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_jobs_or_nodes_and_can_be_told_apart() {
        assert_eq!(job_or_node("41_[5-12]").unwrap(), Named::Job("41_[5-12]".into()));
        assert_eq!(job_or_node("job:7").unwrap(), Named::Job("7".into()));
        assert_eq!(job_or_node("node:7").unwrap(), Named::Node("7".into()));
        assert_eq!(job_or_node("gpu-3").unwrap(), Named::Node("gpu-3".into()));
        for bad in ["", "../x", "41_", "41_[", "job:x"] {
            assert!(job_or_node(bad).is_err() || job_id(bad).is_err(), "{bad}");
        }
    }
}

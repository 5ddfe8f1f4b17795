//! `status`: one screen of truth, and an exit code for monitors.
use crate::cluster::{Global, head};
use crate::failure::{Outcome, code};
use crate::look::Look;
use crate::{render, say};
use clap::Args;

/// Show the cluster on one screen; exit code 1 when something needs attention
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster status                          how it is
  pcluster status > /dev/null || alert     for a monitor: 1 when something needs attention
  pcluster status --json | jq .attention")]
pub struct StatusArgs {}

/// `status`.
///
/// # Errors
/// See [`crate::failure::Failure`].
pub async fn run(global: &Global, _args: &StatusArgs) -> Outcome {
    let view = head(global)?.client.status().await?;
    if global.json {
        say::json(&view)?;
    } else {
        say::data(&render::status::status(&view, &Look::of(view.now_ms)))?;
    }
    Ok(if view.attention.is_empty() { code::DONE } else { code::ATTENTION })
}

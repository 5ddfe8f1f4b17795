//! `nodes` and `node`.
use super::node_name;
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::{render, say};
use clap::{Args, Subcommand};
use serde::Serialize;

/// Show the nodes: what they do, what they cost, when they go
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster nodes                               nodes with phase, jobs, price and idle countdown
  pcluster nodes --json | jq '.nodes[].name'
  pcluster why compute-7                       why one is there, or why it failed")]
pub struct NodesArgs {}

/// One node: show, drain, resume, terminate, log
#[derive(Debug, Args)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub command: NodeCommand,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Show a node with its boot timeline
    #[command(
        after_help = "Examples:\n  pcluster node show compute-7\n  pcluster node show compute-7 --json"
    )]
    Show(NodeName),
    /// Give a node no more jobs; it goes when its jobs have ended
    #[command(
        after_help = "Examples:\n  pcluster node drain compute-7\n  pcluster node resume compute-7    take it back"
    )]
    Drain(NodeName),
    /// Let a drained node take jobs again
    #[command(after_help = "Examples:\n  pcluster node resume compute-7")]
    Resume(NodeName),
    /// End a node now; its jobs are put back into the queue
    #[command(
        after_help = "Examples:\n  pcluster node terminate compute-7\n  pcluster node drain compute-7        waits for its jobs instead"
    )]
    Terminate(NodeName),
    /// Show a node's boot log, also of one that never came up
    #[command(
        after_help = "Examples:\n  pcluster node log compute-6\n  pcluster node log compute-6 | tail"
    )]
    Log(NodeName),
}

#[derive(Debug, Args)]
pub struct NodeName {
    #[arg(value_name = "NODE")]
    pub name: String,
}

/// `nodes`.
///
/// # Errors
/// See [`Failure`].
pub async fn nodes(global: &Global, _args: &NodesArgs) -> Outcome {
    let list = head(global)?.client.nodes().await?;
    if global.json {
        say::json(&list)?;
    } else {
        render::nodes::nodes(&list, &Look::of(list.now_ms)).write()?;
    }
    Ok(code::DONE)
}

#[derive(Serialize)]
struct NodeLog<'a> {
    schema: &'static str,
    node: &'a str,
    lines: &'a [String],
}

/// `node …`.
///
/// # Errors
/// See [`Failure`].
pub async fn node(global: &Global, args: &NodeArgs) -> Outcome {
    let (name, verb) = match &args.command {
        NodeCommand::Show(node) => (&node.name, None),
        NodeCommand::Log(node) => return log(global, &node.name).await,
        NodeCommand::Drain(node) => (&node.name, Some("drain")),
        NodeCommand::Resume(node) => (&node.name, Some("resume")),
        NodeCommand::Terminate(node) => (&node.name, Some("terminate")),
    };
    let name = node_name(name)?;
    let client = head(global)?.client;
    match verb {
        None => {
            let detail = client.node(&name).await?;
            if global.json {
                say::json(&detail)?;
            } else {
                say::data(&render::nodes::node(&detail, &Look::of(detail.now_ms)))?;
            }
        }
        Some(verb) => {
            let answer = client.act_on_node(&name, verb).await?;
            if global.json {
                say::json(&answer)?;
            } else {
                say::line(&answer.said);
            }
        }
    }
    Ok(code::DONE)
}

async fn log(global: &Global, name: &str) -> Result<u8, Failure> {
    let name = node_name(name)?;
    let lines = head(global)?.client.node_log(&name).await?;
    if global.json {
        say::json(&NodeLog { schema: "pcluster.node-log/1", node: &name, lines: &lines })?;
        return Ok(code::DONE);
    }
    if lines.is_empty() {
        say::line(format!("nothing has come from {name} yet"));
    }
    let page: String = lines.iter().map(|line| format!("{line}\n")).collect();
    say::data(&page)?;
    Ok(code::DONE)
}

//! What steps and scripts use while they run: their nodes are asked, each by a stream of its own.
//!
//! Invariant: a node that does not answer in time, or may not be asked, costs its part of the answer
//! and nothing else. Deliberately absent: a memory of what was answered; the head keeps none.
use pcluster_api::client::Client;
use pcluster_steps::message::{FromNode, Message, PartUsage, ToNode};
use pcluster_steps::part::key;
use pcluster_steps::session::Session;
use std::time::Duration;
use tokio::task::JoinSet;

/// A node answers within this: a step daemon beside a script may have to start first.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Streams at once.
const AT_ONCE: usize = 16;

/// A part of a run that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// For whoever asks.
    pub row: usize,
    pub run: u64,
    pub rank: u32,
    pub node: String,
    /// None: the script.
    pub step: Option<u32>,
}

/// What answers there were, in the order of the questions.
pub async fn of(client: &Client, asked: Vec<Asked>) -> Vec<(Asked, PartUsage)> {
    let mut waiting = asked.into_iter().enumerate();
    let (mut asking, mut answers) = (JoinSet::new(), Vec::new());
    loop {
        while asking.len() < AT_ONCE {
            let Some((at, asked)) = waiting.next() else { break };
            let client = client.clone();
            asking.spawn(async move {
                let answer = tokio::time::timeout(ANSWER_WITHIN, ask(&client, &asked)).await;
                answer.ok().flatten().map(|usage| (at, asked, usage))
            });
        }
        match asking.join_next().await {
            Some(answer) => answers.extend(answer.ok().flatten()),
            None => break,
        }
    }
    answers.sort_by_key(|(at, ..)| *at);
    answers.into_iter().map(|(_, asked, usage)| (asked, usage)).collect()
}

async fn ask(client: &Client, asked: &Asked) -> Option<PartUsage> {
    let stream = client.attach(asked.run, asked.rank).await.ok()?;
    let (session, mut messages) = Session::new(key());
    let question: Message<ToNode> = Message::Control(ToNode::Usage { step: asked.step });
    session.send_now(question.encode());
    let mut resumed = false;
    let answer = tokio::select! {
        biased;
        answer = messages.recv() => answer,
        _ = session.dial(stream, &mut resumed) => messages.try_recv().ok(),
    };
    match Message::decode(&answer?)? {
        Message::Control(FromNode::Usage(usage)) => Some(*usage),
        _ => None,
    }
}

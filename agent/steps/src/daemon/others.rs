//! Whom a step speaks with beside its tasks: its client, those who look at it, and the head.
//!
//! Invariant: nobody here can hold up a task. Deliberately absent: what is said of the step (`step`).
use super::input::{Room, Said};
use super::step::{Event, Events, HEARD_WITHIN, LOOK_EVERY};
use super::steps::Steps;
use crate::message::{FromNode, Message};
use crate::session::Session;
use pcluster_api::StepPartEnd;
use pcluster_api::client::ClientError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The client of a step that has been away for this long, while the head was there, is gone.
const CLIENT_AWAY: Duration = Duration::from_secs(30);

/// Tells the head until it has heard, or says that it knows no such step.
pub(super) async fn report(steps: &Steps, run: u64, step: u32, end: &StepPartEnd) {
    loop {
        match steps.client().end_step(run, step, end).await {
            Ok(_) | Err(ClientError::Unreadable(_)) => return,
            Err(error) if !error.is_away() => return,
            Err(_) => tokio::time::sleep(LOOK_EVERY / 4).await,
        }
    }
}

/// Counts the time that the client is away while it could be here.
pub(super) async fn watch_client(steps: Steps, session: Arc<Session>, events: Events) {
    let mut connected = session.connected();
    loop {
        if connected.wait_for(|there| !there).await.is_err() {
            return;
        }
        let mut away = Duration::ZERO;
        while !*connected.borrow() {
            tokio::time::sleep(LOOK_EVERY).await;
            // Whatever it says: it is there.
            if steps.client().status().await.map_or_else(|error| !error.is_away(), |_| true) {
                away += LOOK_EVERY;
            }
            if away >= CLIENT_AWAY {
                let _ = events.send(Event::ClientGone);
                return;
            }
        }
    }
}

/// Hears what the client of a step says, for as long as the step lives.
pub(super) async fn listen(
    session: Arc<Session>,
    mut messages: mpsc::Receiver<Vec<u8>>,
    events: Events,
) {
    let room = Room::new();
    while let Some(message) = messages.recv().await {
        if !pass_on(&session, &message, &room, &events).await {
            return;
        }
    }
}

/// Passes a message on once there is room for it; false when nobody takes any.
async fn pass_on(session: &Arc<Session>, message: &[u8], room: &Room, events: &Events) -> bool {
    let Some(taken) = room.take(message.len()).await else { return false };
    let Some(message) = Message::decode(message) else { return true };
    let said = Said { message, from: Arc::clone(session), room: taken };
    events.send(Event::Told(said)).is_ok()
}

/// Somebody else at a step: sees its output, and may give input and signals.
pub(super) async fn view(
    session: &Arc<Session>,
    mut messages: mpsc::Receiver<Vec<u8>>,
    events: &Events,
) {
    if events.send(Event::Joined(Arc::clone(session))).is_err() {
        return;
    }
    let mut connected = session.connected();
    let room = Room::new();
    let speaks = async {
        while let Some(message) = messages.recv().await {
            if !pass_on(session, &message, &room, events).await {
                break;
            }
        }
    };
    tokio::select! {
        () = speaks => {}
        () = events.closed() => {}
        _ = connected.wait_for(|there| !there) => {}
    }
    let _ = tokio::time::timeout(HEARD_WITHIN, session.settled()).await;
}

/// Somebody asks what a step uses.
pub(super) async fn tell_usage(session: &Session, events: &Events) {
    let (answer, usage) = oneshot::channel();
    let answer = match events.send(Event::Asked(answer)) {
        Ok(()) => usage.await.ok(),
        Err(_) => None,
    };
    let message = match answer {
        Some(usage) => FromNode::Usage(Box::new(usage)),
        None => FromNode::Refused { why: "the step has just ended".to_owned() },
    };
    say(session, message).await;
}

/// A last word to somebody who asked: whoever has gone does not hear it.
pub(super) async fn say(session: &Session, message: FromNode) {
    session.send_now(Message::Control(message).encode());
    let mut connected = session.connected();
    tokio::select! {
        _ = tokio::time::timeout(HEARD_WITHIN, session.settled()) => {}
        _ = connected.wait_for(|there| !there) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Channel, EVERY_TASK};

    #[tokio::test]
    async fn what_nobody_takes_stays_where_it_comes_from() {
        let (session, _none) = Session::new("s");
        let (sender, messages) = mpsc::channel(1);
        let (events, mut inbox) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(session, messages, events));
        let bytes = vec![0; 300 << 10];
        let input = Message::<FromNode>::Data { task: EVERY_TASK, channel: Channel::In, bytes };
        let input = input.encode();
        let sends = tokio::spawn(async move { while sender.send(input.clone()).await.is_ok() {} });
        // Three have room beside each other; a fourth comes once one of them is done.
        let mut said = std::collections::VecDeque::new();
        for _ in 0..3 {
            said.push_back(inbox.recv().await.unwrap());
        }
        for _ in 0..10 {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(inbox.try_recv().is_err());
            drop(said.pop_front());
            said.push_back(inbox.recv().await.unwrap());
        }
        sends.abort();
        listening.abort();
    }
}

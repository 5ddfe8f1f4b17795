//! `sattach JOB.STEP`: shows what a running step writes from now on, and forwards input and signals.
//!
//! Invariant: a watcher never slows a step down for long; when it goes, the step goes on.
use super::asks::{Source, Target};
use super::console::Console;
use super::exits::Exits;
use super::input;
use super::inside::allocation_of;
use super::signals::{Signals, Told};
use crate::Context;
use crate::refusal::Refusal;
use crate::words::jobid::{self, StepId};
use pcluster_api::{AllocationView, PartView};
use pcluster_steps::feed::Feed;
use pcluster_steps::message::{FromNode, Message, ToNode};
use pcluster_steps::part::{News, Part, Whose};
use tokio::sync::mpsc;

const USAGE: &str = "\
Usage: sattach [options] JOB.STEP
Shows what a running step writes from now on; input goes to its tasks.
  -l, --label            the task's number before each line
  -Q, --quiet            say less
  -V, --version          the version
  -h, --help             this text
";

#[derive(Debug, Default)]
struct Line {
    label: bool,
    quiet: bool,
    target: Option<String>,
}

fn line(args: &[String]) -> Result<Line, Refusal> {
    let mut line = Line::default();
    for arg in args {
        match arg.as_str() {
            "-l" | "--label" => line.label = true,
            "-Q" | "--quiet" => line.quiet = true,
            "-v" | "--verbose" | "--pty" => {}
            word if word.starts_with("--input-filter")
                || word.starts_with("--output-filter")
                || word.starts_with("--error-filter") => {}
            word if word.starts_with('-') => {
                return Err(Refusal::plain(format!("sattach: unrecognized option '{word}'"), 255)
                    .line("Try \"sattach --help\" for more information"));
            }
            word => line.target = Some(word.to_owned()),
        }
    }
    Ok(line)
}

/// `sattach`.
pub(super) async fn sattach(args: &[String], context: &Context) -> Result<u8, Refusal> {
    if args.iter().any(|arg| arg == "-h" || arg == "--help" || arg == "--usage") {
        drop(pcluster_client::say::data(USAGE));
        return Ok(0);
    }
    if args.iter().any(|arg| arg == "-V" || arg == "--version") {
        drop(pcluster_client::say::data(&crate::options::version()));
        return Ok(0);
    }
    let line = line(args)?;
    let text = line.target.clone().unwrap_or_default();
    let wrong = || {
        Refusal::error("sattach", format!("Invalid step specification \"{text}\""), 1)
            .hint("sattach 41.0    step 0 of job 41; squeue -s lists steps")
    };
    let asked = jobid::one(&text).ok_or_else(wrong)?;
    let (Some(StepId::Number(step)), Some((id, _))) = (asked.step, text.rsplit_once('.')) else {
        return Err(wrong());
    };
    let head = context.head().map_err(|failure| {
        let text = "Unable to contact slurm controller (connect failure)";
        Refusal::error("sattach", text, 1).because(&failure)
    })?;
    let job = allocation_of(&head.client, id, "sattach").await;
    let job = job.map_err(|nowhere| nowhere.of_sattach())?;
    let (sender, news) = mpsc::channel(64);
    let whose = Whose::of(&job);
    let connect = |(index, part): (usize, &PartView)| {
        let part = Part::connect(&head.client, &whose, part.rank, index, &sender);
        part.tell(ToNode::Attach { step });
        part
    };
    let own = |why: String| Refusal::error("sattach", why, 1);
    let facts = super::orders::facts(&job, step, "");
    let label = line.label.then_some(job.ntasks.max(1));
    let mut watch = Watch {
        parts: job.parts.iter().enumerate().map(connect).collect(),
        over: vec![false; job.parts.len()],
        console: Console::open(&Target::Own, None, false, label, &facts).map_err(own)?,
        feed: input::start(&Source::All, job.parts.len(), &facts).map_err(own)?,
        exits: Exits::default(),
        seen: false,
        quiet: line.quiet,
        label: format!("{}.{step}", job.raw_job),
        job,
    };
    let signals = Signals::catch().map_err(|why| own(why.to_string()))?;
    watch.run(news, signals).await
}

struct Watch {
    parts: Vec<Part>,
    over: Vec<bool>,
    console: Console,
    feed: Feed,
    exits: Exits,
    /// The step was there: something of it has come.
    seen: bool,
    quiet: bool,
    label: String,
    job: AllocationView,
}

impl Watch {
    async fn run(
        &mut self,
        mut news: mpsc::Receiver<(usize, News)>,
        mut signals: Signals,
    ) -> Result<u8, Refusal> {
        while self.over.iter().any(|over| !over) {
            tokio::select! {
                Some((part, news)) = news.recv() => {
                    if self.hear(part, news).is_err() {
                        return Ok(0);
                    }
                }
                message = self.feed.next(), if self.feed.wants() => {
                    // The end of this command's input is not the end of the tasks' input.
                    let ends = matches!(&message, Message::Data { bytes, .. } if bytes.is_empty());
                    for (at, part) in self.parts.iter().enumerate().filter(|_| !ends) {
                        if self.feed.feeds(at) {
                            part.input(&message);
                        }
                    }
                }
                told = signals.next() => {
                    if let Some(code) = self.told(told) {
                        return Ok(code);
                    }
                }
            }
        }
        for line in self.exits.take_lines() {
            tell!("sattach: error: {line}");
        }
        if !self.seen {
            let text = "Could not get job step info: Invalid job id specified";
            let hint = format!("step {} does not run; squeue -s lists those that do", self.label);
            return Err(Refusal::error("sattach", text, 1).hint(hint));
        }
        Ok(self.exits.code())
    }

    fn hear(&mut self, part: usize, news: News) -> std::io::Result<()> {
        match news {
            News::Message(Message::Data { task, channel, bytes }) => {
                self.seen = true;
                return self.console.write(task, channel, &bytes);
            }
            News::Message(Message::Control(FromNode::Ended { task, exit })) => {
                self.seen = true;
                self.exits.add(&self.job.parts[part].node, task, exit);
            }
            // Not every node of a job has tasks of every step.
            News::Message(Message::Control(FromNode::Done | FromNode::Refused { .. }))
            | News::Gone(_)
            | News::Forgotten(_) => {
                self.over[part] = true;
                self.feed.gone(part);
            }
            News::Message(Message::Control(FromNode::InputTaken { bytes })) => {
                self.feed.taken(part, bytes);
            }
            News::Message(Message::Control(_)) | News::Away(_) | News::Back => {}
        }
        Ok(())
    }

    /// The exit code when it is over.
    fn told(&self, told: Told) -> Option<u8> {
        match told {
            Told::Interrupt => {
                if !self.quiet {
                    tell!("sattach: interrupt: StepId={} goes on", self.label);
                }
                Some(130)
            }
            Told::End => Some(143),
            Told::Forward(signal) => {
                for part in &self.parts {
                    part.tell(ToNode::Signal { signal, tasks: Vec::new() });
                }
                None
            }
            Told::Resized => None,
        }
    }
}

//! One suite for every provider: what core relies on, tried against the real thing.
//!
//! Invariant: the suite knows a provider only by its trait, so that a new one is held to the same
//! words. It leaves no instance behind, also when a rule is broken. Deliberately absent: how long
//! things take; a rule is waited for until the subject's patience ends.
use crate::provider::{LaunchOrder, Listed, Phase, Provider, ProviderError, Target};
use pcluster_model::{InstanceRef, LaunchId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What is tried.
pub trait Subject: Sync {
    /// A new provider value on the same account: what a restarted head would make.
    fn provider(&self) -> Box<dyn Provider>;

    /// An order that must succeed. The same arguments give the same order, byte for byte.
    fn order(&self, launch: LaunchId, count: u32) -> LaunchOrder;

    /// The first launch id to use; the suite uses the hundred from here on.
    fn first_launch(&self) -> LaunchId {
        LaunchId(1000)
    }

    /// A rule holds; for progress.
    fn passed(&self, _rule: &'static str) {}

    /// How long a machine may take to appear, to speak on its console, or to go.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// A rule that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    #[error("{rule}: {found}")]
    Broken { rule: &'static str, found: String },
    #[error("{rule}: the call failed: {error}")]
    Call { rule: &'static str, error: ProviderError },
}

type Outcome = Result<(), Violation>;
/// The rule that holds.
type Held = Result<&'static str, Violation>;

/// How many rules there are.
pub const RULES: usize = 8;

/// Tries every rule in turn and ends everything that was launched.
///
/// # Errors
/// The first rule that does not hold.
pub async fn run(subject: &dyn Subject) -> Outcome {
    let first = subject.first_launch().0;
    let launches: Vec<LaunchId> = (first..first + 9).map(LaunchId).collect();
    let outcome = rules(&Suite { subject }, &launches).await;
    // Whatever happened, nothing goes on costing.
    let targets: Vec<Target> = launches.into_iter().map(Target::Launch).collect();
    let cleaned = subject.provider().terminate(&targets).await;
    outcome?;
    cleaned.map_err(|error| Violation::Call { rule: "a clean end", error })
}

async fn rules(suite: &Suite<'_>, launches: &[LaunchId]) -> Outcome {
    let [one, two, three, four, five, six, seven, ..] = launches else { return Ok(()) };
    let tell = |rule| suite.subject.passed(rule);
    suite.the_same_order_again_is_the_same_machine(*one).await.map(tell)?;
    suite.the_same_order_at_the_same_time_is_the_same_machine(*two).await.map(tell)?;
    suite.a_batch_answers_for_each_index(*three).await.map(tell)?;
    suite.what_was_launched_is_known_to_a_new_provider(*four).await.map(tell)?;
    suite.a_terminated_machine_stays_listed_with_its_end(*five).await.map(tell)?;
    suite.a_termination_before_the_launch_wins(*six).await.map(tell)?;
    suite.the_console_has_the_first_byte(*seven).await.map(tell)?;
    suite.an_unknown_machine_is_gone_already().await.map(tell)
}

struct Suite<'a> {
    subject: &'a dyn Subject,
}

impl Suite<'_> {
    async fn the_same_order_again_is_the_same_machine(&self, launch: LaunchId) -> Held {
        let rule = "the same order again is the same machine";
        let order = self.subject.order(launch, 1);
        let first = self.launch(rule, &order).await?;
        let again = self.launch(rule, &order).await?;
        self.equal(rule, &first, &again)?;
        self.listed(rule, launch, 1).await?;
        self.end(rule, launch).await.map(|()| rule)
    }

    async fn the_same_order_at_the_same_time_is_the_same_machine(&self, launch: LaunchId) -> Held {
        let rule = "the same order at the same time is the same machine";
        let order = self.subject.order(launch, 1);
        // One provider value, and two of two heads (the old one is not quite dead).
        let (here, there) = (self.subject.provider(), self.subject.provider());
        let calls = tokio::join!(here.launch(&order), here.launch(&order), there.launch(&order));
        let mut seen = BTreeSet::new();
        for answers in [calls.0, calls.1, calls.2] {
            for answer in answers.map_err(|error| Violation::Call { rule, error })? {
                seen.insert(answer.map_err(|error| Violation::Call { rule, error })?.instance);
            }
        }
        self.that(rule, seen.len() == 1, || format!("{} machines: {seen:?}", seen.len()))?;
        self.listed(rule, launch, 1).await?;
        self.end(rule, launch).await.map(|()| rule)
    }

    async fn a_batch_answers_for_each_index(&self, launch: LaunchId) -> Held {
        let rule = "a batch answers for each index";
        let order = self.subject.order(launch, 3);
        let answers = self.subject.provider().launch(&order).await;
        let answers = answers.map_err(|error| Violation::Call { rule, error })?;
        self.that(rule, answers.len() == 3, || format!("{} answers for 3", answers.len()))?;
        // Fewer than wanted is normal; what was accepted is there, and distinct.
        let accepted: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
        let names: BTreeSet<&InstanceRef> = accepted.iter().map(|one| &one.instance).collect();
        let indices: BTreeSet<u32> = accepted.iter().map(|one| one.index).collect();
        self.that(rule, names.len() == accepted.len() && indices.len() == accepted.len(), || {
            format!("machines or indices twice: {accepted:?}")
        })?;
        let listed = self.listed(rule, launch, accepted.len()).await?;
        for machine in &listed {
            let answer = accepted.iter().find(|one| one.instance == machine.instance);
            let same = answer.is_some_and(|one| {
                one.launched_at == machine.launched_at
                    && machine.index.is_none_or(|index| index == one.index)
            });
            self.that(rule, same, || format!("listed as {machine:?}, answered as {answer:?}"))?;
        }
        self.end(rule, launch).await.map(|()| rule)
    }

    async fn what_was_launched_is_known_to_a_new_provider(&self, launch: LaunchId) -> Held {
        let rule = "what was launched is known to a new provider";
        let order = self.subject.order(launch, 2);
        let first = self.launch(rule, &order).await?;
        let before = self.listed(rule, launch, 2).await?;
        // `listed` makes a new provider at each look; so does this second launch.
        let again = self.launch(rule, &order).await?;
        self.equal(rule, &first, &again)?;
        let after = self.listed(rule, launch, 2).await?;
        let key = |one: &Listed| (one.instance.clone(), one.index, one.launched_at);
        let same = before.iter().map(key).eq(after.iter().map(key));
        self.that(rule, same, || format!("{before:?} became {after:?}"))?;
        self.end(rule, launch).await.map(|()| rule)
    }

    async fn a_terminated_machine_stays_listed_with_its_end(&self, launch: LaunchId) -> Held {
        let rule = "a terminated machine stays listed with its end";
        let order = self.subject.order(launch, 1);
        let launched = self.launch(rule, &order).await?;
        self.running(rule, launch).await?;
        let target = Target::Instance(launched[0].instance.clone());
        for _ in 0..2 {
            let ended = self.subject.provider().terminate(std::slice::from_ref(&target)).await;
            ended.map_err(|error| Violation::Call { rule, error })?;
        }
        let machine = self
            .until(rule, launch, "its end is listed", |found| {
                found.iter().any(|one| one.phase == Phase::Ended && one.ended_at.is_some())
            })
            .await?;
        let sound = machine.iter().all(|one| one.ended_at >= Some(one.launched_at));
        self.that(rule, sound, || format!("it ended before it began: {machine:?}"))?;
        // The end is final: the order of old brings nothing back.
        drop(self.subject.provider().launch(&order).await);
        let found = self.list(rule, launch).await?;
        self.that(rule, found.iter().all(|one| one.phase == Phase::Ended), || {
            format!("it came back: {found:?}")
        })
        .map(|()| rule)
    }

    async fn a_termination_before_the_launch_wins(&self, launch: LaunchId) -> Held {
        let rule = "a termination before the launch wins";
        self.end(rule, launch).await?;
        // Refused, or launched and ended at once: both are well as long as nothing stays.
        drop(self.subject.provider().launch(&self.subject.order(launch, 1)).await);
        self.end(rule, launch).await.map(|()| rule)
    }

    async fn the_console_has_the_first_byte(&self, launch: LaunchId) -> Held {
        let rule = "the console has the first byte";
        let launched = self.launch(rule, &self.subject.order(launch, 1)).await?;
        let until = Instant::now() + self.subject.patience();
        loop {
            let provider = self.subject.provider();
            let text = provider.console(&launched[0].instance).await;
            if !text.map_err(|error| Violation::Call { rule, error })?.is_empty() {
                break;
            }
            self.that(rule, Instant::now() < until, || "it stayed empty".to_owned())?;
            pause().await;
        }
        self.end(rule, launch).await.map(|()| rule)
    }

    async fn an_unknown_machine_is_gone_already(&self) -> Held {
        let rule = "an unknown machine is gone already";
        for name in ["p-999999.0", "i-0000000000000000", "../..", ""] {
            let target = Target::Instance(InstanceRef::from(name));
            let ended = self.subject.provider().terminate(&[target]).await;
            ended.map_err(|error| Violation::Call { rule, error })?;
        }
        Ok(rule)
    }

    async fn launch(
        &self,
        rule: &'static str,
        order: &LaunchOrder,
    ) -> Result<Vec<crate::provider::Launched>, Violation> {
        let answers = self.subject.provider().launch(order).await;
        let answers = answers.map_err(|error| Violation::Call { rule, error })?;
        let launched: Result<Vec<_>, _> = answers.into_iter().collect();
        let launched = launched.map_err(|error| Violation::Call { rule, error })?;
        self.that(rule, launched.len() == order.count as usize, || format!("{launched:?}"))?;
        Ok(launched)
    }

    async fn list(&self, rule: &'static str, launch: LaunchId) -> Result<Vec<Listed>, Violation> {
        let listed = self.subject.provider().list().await;
        let listed = listed.map_err(|error| Violation::Call { rule, error })?;
        let mut found: Vec<_> = listed.into_iter().filter(|one| one.launch == launch).collect();
        found.sort_by(|a, b| a.instance.cmp(&b.instance));
        Ok(found)
    }

    /// Lists until `good`; what was found then.
    async fn until(
        &self,
        rule: &'static str,
        launch: LaunchId,
        wanted: &str,
        good: impl Fn(&[Listed]) -> bool,
    ) -> Result<Vec<Listed>, Violation> {
        let until = Instant::now() + self.subject.patience();
        loop {
            let found = self.list(rule, launch).await?;
            if good(&found) {
                return Ok(found);
            }
            self.that(rule, Instant::now() < until, || format!("never came: {wanted}; {found:?}"))?;
            pause().await;
        }
    }

    /// Exactly `count` machines of the launch, and not more once lists are to be believed.
    async fn listed(
        &self,
        rule: &'static str,
        launch: LaunchId,
        count: usize,
    ) -> Result<Vec<Listed>, Violation> {
        let window = self.subject.provider().consistency_window_ms();
        tokio::time::sleep(Duration::from_millis(window)).await;
        self.until(rule, launch, "as many machines as launched", |found| found.len() == count).await
    }

    async fn running(&self, rule: &'static str, launch: LaunchId) -> Outcome {
        let runs = |found: &[Listed]| found.iter().any(|one| one.phase == Phase::Running);
        self.until(rule, launch, "a running machine", runs).await.map(drop)
    }

    /// Ends a launch, twice, and waits until nothing of it lives.
    async fn end(&self, rule: &'static str, launch: LaunchId) -> Outcome {
        for _ in 0..2 {
            let ended = self.subject.provider().terminate(&[Target::Launch(launch)]).await;
            ended.map_err(|error| Violation::Call { rule, error })?;
        }
        let over = |found: &[Listed]| found.iter().all(|one| one.phase == Phase::Ended);
        self.until(rule, launch, "the end of all", over).await.map(drop)
    }

    fn equal(
        &self,
        rule: &'static str,
        first: &[crate::provider::Launched],
        again: &[crate::provider::Launched],
    ) -> Outcome {
        self.that(rule, first == again, || format!("first {first:?}, then {again:?}"))
    }

    fn that(&self, rule: &'static str, holds: bool, found: impl FnOnce() -> String) -> Outcome {
        if holds { Ok(()) } else { Err(Violation::Broken { rule, found: found() }) }
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

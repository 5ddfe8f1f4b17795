//! A provider that writes its calls down, and has one machine that it does not end.
use super::*;
use async_trait::async_trait;
use pcluster_model::config::ProviderKind;
use pcluster_providers::{ErrorClass, LaunchAnswer, LaunchOrder, Listed, Offering, ProviderError};
use std::sync::Mutex;

#[derive(Default)]
struct Calls(Mutex<Vec<usize>>);

#[async_trait]
impl Provider for Calls {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Ec2
    }

    async fn launch(&self, _: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError> {
        Ok(Vec::new())
    }

    async fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError> {
        self.0.lock().unwrap().push(targets.len());
        // Others ask meanwhile.
        tokio::time::sleep(limits::ENDS_GATHER * 4).await;
        let stubborn = Target::Instance(InstanceRef::from("i-stubborn"));
        if targets.contains(&stubborn) {
            return Err(ProviderError::new(ErrorClass::Denied, "it is protected"));
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        Ok(Vec::new())
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        Ok(Vec::new())
    }

    async fn console(&self, _: &InstanceRef) -> Result<String, ProviderError> {
        Ok(String::new())
    }

    fn consistency_window_ms(&self) -> u64 {
        0
    }
}

async fn end(ends: &Ends, names: impl IntoIterator<Item = String>) -> Vec<Result<(), String>> {
    let all = names.into_iter().map(|name| {
        let ends = ends.clone();
        tokio::spawn(async move { ends.end(InstanceRef::from(name)).await })
    });
    let mut answers = Vec::new();
    for one in all.collect::<Vec<_>>() {
        answers.push(one.await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn a_thousand_ends_are_a_few_calls() {
    let provider = Arc::new(Calls::default());
    let ends = Ends::of(provider.clone());
    let answers = end(&ends, (0..1000).map(|number| format!("i-{number}"))).await;
    assert!(answers.len() == 1000 && answers.iter().all(Result::is_ok));
    let calls = provider.0.lock().unwrap().clone();
    assert_eq!((calls.iter().sum::<usize>(), calls.len()), (1000, 2), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_ended_keeps_none_of_the_others() {
    let provider = Arc::new(Calls::default());
    let ends = Ends::of(provider.clone());
    let names = || ["i-1", "i-stubborn", "i-2"].map(str::to_owned);
    let first = end(&ends, names()).await;
    assert!(first.iter().all(Result::is_err), "{first:?}");
    let second = end(&ends, names()).await;
    assert_eq!(second.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(*provider.0.lock().unwrap(), [3, 1, 1, 1]);
    // It stays alone, and what is new goes together.
    let names = ["i-stubborn", "i-3", "i-4"].map(str::to_owned);
    let third = end(&ends, names).await;
    assert_eq!(third.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(*provider.0.lock().unwrap(), [3, 1, 1, 1, 2, 1]);
}

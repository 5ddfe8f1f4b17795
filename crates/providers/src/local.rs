//! Machines that are processes of the head's own machine, whatever is inside them: an instance is one
//! directory under `nodes/` and one process in a session of its own, whose end is the end of the
//! instance.
//!
//! Invariant: a launch is on disk before its process is started, and what is on disk decides: the
//! same order again, also by a provider of a later head, gives the same instances. An instance is
//! listed as ended only when nothing of it is alive. Nothing here is lost with the head: times of
//! launch and end lie in files, and are the provider's meter.
//!
//! Deliberately absent: what a machine is made of; a `Body` knows.
pub mod dir;
pub mod machine;

use crate::checkup::Asked;
use crate::provider::{
    ErrorClass, LaunchAnswer, LaunchOrder, Launched, Listed, Offering, Phase, Provider,
    ProviderError, Target, now,
};
use async_trait::async_trait;
use dir::{EndRecord, InstanceDir, LaunchRecord, Nodes};
use pcluster_api::Finding;
use pcluster_model::config::ProviderKind;
use pcluster_model::{ClusterId, InstanceRef, Shape};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard};

/// At most this much of a console is given, in bytes.
const CONSOLE_BYTES: u64 = 64 << 10;
/// Ended instances stay listed for an hour: a head that was away still reads their end.
pub const KEEP_ENDED_MS: u64 = 60 * 60 * 1000;

/// What is different from one kind of machine to the next.
pub trait Body: std::fmt::Debug + Send + Sync + 'static {
    /// Whose machines they are.
    const KIND: ProviderKind;
    /// What the names of instances begin with: `p-7.0`.
    const PREFIX: &'static str;

    /// Refuses an order that could never be carried out.
    fn check(&self, order: &LaunchOrder) -> Result<(), ProviderError>;

    /// Writes what the machine needs beside its join order, before the launch is on disk.
    fn furnish(&self, order: &LaunchOrder, dir: &InstanceDir) -> Result<(), ProviderError>;

    /// The command that is, or becomes, the machine.
    fn command(&self, dir: &InstanceDir, name: &str) -> Command;

    /// What this machine lacks for such machines, or has for them.
    fn checkup(&self, _asked: &Asked<'_>) -> Vec<Finding> {
        Vec::new()
    }

    /// Ends everything that a dead machine left.
    fn sweep(&self, dir: &InstanceDir) -> io::Result<()>;
}

/// What every such provider needs to know.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// The cluster's state directory; instances lie in `nodes/` in it.
    pub state_dir: PathBuf,
    pub cluster: ClusterId,
    /// What `offerings` gives: the shapes of the pools.
    pub shapes: Vec<Shape>,
    /// How long an ended instance stays listed, in milliseconds.
    pub keep_ended_ms: u64,
}

/// A provider of such machines. Cheap to clone.
#[derive(Debug)]
pub struct Local<B> {
    pub shop: Arc<Shop<B>>,
}

#[derive(Debug)]
pub struct Shop<B> {
    settings: LocalSettings,
    pub body: B,
    pub nodes: Nodes,
    /// Machines started by this process, to be reaped; also the lock under which directories are
    /// made and marked, so that a launch and a termination of one id have an order.
    children: Mutex<BTreeMap<String, Child>>,
}

impl<B> Clone for Local<B> {
    fn clone(&self) -> Self {
        Self { shop: Arc::clone(&self.shop) }
    }
}

impl<B: Body> Local<B> {
    /// A provider on this state directory. Nothing is made before the first launch.
    pub fn of(settings: LocalSettings, body: B) -> Self {
        let root =
            std::path::absolute(&settings.state_dir).unwrap_or_else(|_| settings.state_dir.clone());
        let nodes = Nodes::new(root.join("nodes"), B::PREFIX);
        Self { shop: Arc::new(Shop { settings, body, nodes, children: Mutex::default() }) }
    }

    /// Files and processes are waited for outside the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shop<B>) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let shop = Arc::clone(&self.shop);
        let joined = tokio::task::spawn_blocking(move || work(&shop)).await;
        joined.unwrap_or_else(|error| {
            let kind = B::KIND;
            Err(unknown(format!("the provider {} failed: {error}", kind.as_str())))
        })
    }
}

#[async_trait]
impl<B: Body> Provider for Local<B> {
    fn kind(&self) -> ProviderKind {
        B::KIND
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError> {
        let order = order.clone();
        self.blocking(move |shop| shop.launch(&order)).await
    }

    async fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError> {
        let targets = targets.to_vec();
        self.blocking(move |shop| shop.terminate(&targets)).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.blocking(Shop::list).await
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        let offering = |shape: &Shape| Offering {
            shape: shape.clone(),
            zone: String::new(),
            subnet: String::new(),
            spot: false,
            price: shape.price,
        };
        Ok(self.shop.settings.shapes.iter().map(offering).collect())
    }

    async fn console(&self, instance: &InstanceRef) -> Result<String, ProviderError> {
        let instance = instance.clone();
        self.blocking(move |shop| {
            let dir = shop.nodes.find(&instance);
            let dir = dir.ok_or_else(|| unknown(format!("no instance {instance} is known")))?;
            tail_of(&dir.console()).map_err(|error| failed("read the console of", &dir, &error))
        })
        .await
    }

    async fn checkup(&self, asked: &Asked<'_>) -> Vec<Finding> {
        self.shop.body.checkup(asked)
    }

    fn consistency_window_ms(&self) -> u64 {
        0
    }
}

impl<B: Body> Shop<B> {
    pub fn launch(&self, order: &LaunchOrder) -> Result<Vec<LaunchAnswer>, ProviderError> {
        self.check(order)?;
        let mut children = self.lock();
        reap(&mut children);
        let _alone = self.alone()?;
        if self.nodes.is_buried(order.launch) {
            let words = format!("launch {} was terminated", order.launch);
            return Ok((0..order.count).map(|_| Err(unknown(words.clone()))).collect());
        }
        let one = |index| self.launch_one(order, index, &mut children);
        Ok((0..order.count).map(one).collect())
    }

    fn check(&self, order: &LaunchOrder) -> Result<(), ProviderError> {
        let bad = |words: String| Err(ProviderError::new(ErrorClass::BadConfig, words));
        if order.cluster != self.settings.cluster {
            return bad(format!(
                "launch {} is for cluster {}, these nodes are of {}",
                order.launch, order.cluster, self.settings.cluster
            ));
        }
        if order.joins.len() < order.count as usize {
            return bad(format!("launch {} has no join order for each of its nodes", order.launch));
        }
        self.body.check(order)
    }

    fn launch_one(
        &self,
        order: &LaunchOrder,
        index: u32,
        children: &mut BTreeMap<String, Child>,
    ) -> LaunchAnswer {
        let dir = self.nodes.instance(order.launch, index);
        let broken = |error: io::Error| {
            let class = match error.kind() {
                io::ErrorKind::OutOfMemory
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::StorageFull => ErrorClass::NoCapacity,
                _ => ErrorClass::Unknown,
            };
            ProviderError::new(class, format!("cannot launch {}: {}", dir.name(), plain(&error)))
        };
        let known = dir.launch_record().map_err(broken)?;
        let record = match known {
            Some(record) => record,
            None => {
                let record = LaunchRecord {
                    cluster: order.cluster.clone(),
                    launch: order.launch,
                    index,
                    name: order.names.get(index as usize).cloned().unwrap_or_default(),
                    launched_at: now(),
                    tags: order.tags.clone(),
                    image: order.image.reference.clone(),
                };
                let furnished = dir
                    .prepare(&order.joins[index as usize])
                    .map_err(broken)
                    .and_then(|()| self.body.furnish(order, &dir))
                    .and_then(|()| dir.write_launch(&record).map_err(broken));
                if let Err(refused) = furnished {
                    // No instance comes of it, so its secret and its address go at once.
                    drop(fs::remove_dir_all(dir.path()));
                    return Err(refused);
                }
                record
            }
        };
        let starting = children.contains_key(dir.name());
        if !starting && dir.is_unstarted().map_err(broken)? {
            let child =
                machine::spawn(self.body.command(&dir, &record.name), &dir).map_err(|error| {
                    // Nothing runs, so nothing is kept: the next try starts from the beginning.
                    drop(fs::remove_dir_all(dir.path()));
                    broken(error)
                })?;
            tracing::info!(instance = dir.name(), pid = child.id(), "launched");
            children.insert(dir.name().to_owned(), child);
        }
        Ok(Launched {
            index,
            instance: dir.instance(),
            launched_at: record.launched_at,
            address: None,
        })
    }

    pub fn terminate(&self, targets: &[Target]) -> Result<(), ProviderError> {
        let mut doomed = Vec::new();
        {
            let mut children = self.lock();
            reap(&mut children);
            let _alone = self.alone()?;
            for target in targets {
                let dirs = match target {
                    Target::Instance(instance) => Vec::from_iter(self.nodes.find(instance)),
                    Target::Launch(launch) => {
                        self.nodes.bury(*launch).map_err(|error| {
                            unknown(format!("cannot end launch {launch}: {}", plain(&error)))
                        })?;
                        self.nodes.of_launch(*launch).map_err(|error| {
                            unknown(format!("cannot list launch {launch}: {}", plain(&error)))
                        })?
                    }
                };
                for dir in dirs {
                    dir.mark_terminated().map_err(|error| failed("end", &dir, &error))?;
                    doomed.push(dir);
                }
            }
        }
        // All are tried; the first failure is told, and the caller comes again.
        let results: Vec<_> = doomed.iter().map(|dir| self.end(dir, false)).collect();
        reap(&mut self.lock());
        results.into_iter().collect()
    }

    /// Ends everything of an instance and writes down when.
    fn end(&self, dir: &InstanceDir, estimated: bool) -> Result<(), ProviderError> {
        let told = dir.end_record().map_err(|error| failed("read", dir, &error))?;
        if told.is_some() {
            return Ok(());
        }
        let swept = machine::kill(dir).and_then(|()| self.body.sweep(dir));
        swept.map_err(|error| failed("end everything of", dir, &error))?;
        let ended = EndRecord { ended_at: now(), estimated };
        let written = dir.write_end(&ended).and_then(|()| dir.clear());
        written.map_err(|error| failed("write the end of", dir, &error))?;
        tracing::info!(instance = dir.name(), estimated, "ended");
        Ok(())
    }

    pub fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        reap(&mut self.lock());
        let root = self.nodes.root();
        let dirs = self.nodes.all().map_err(|error| {
            unknown(format!("cannot list {}: {}", root.display(), plain(&error)))
        })?;
        let mut listed = Vec::new();
        for dir in dirs {
            listed.extend(self.look(&dir)?);
        }
        Ok(listed)
    }

    fn look(&self, dir: &InstanceDir) -> Result<Option<Listed>, ProviderError> {
        let broken = |error: io::Error| failed("read", dir, &error);
        let Some(launch) = dir.launch_record().map_err(broken)? else {
            // A launch that was cut off before anything was started.
            return Ok(None);
        };
        if launch.cluster != self.settings.cluster {
            return Ok(None);
        }
        let mut phase = dir.phase().map_err(broken)?;
        if phase == dir::State::Dead {
            // The machine was killed from outside: what it left ends now, and with it the bill.
            // One that does not go is listed on, and does not hide the others.
            if let Err(error) = self.end(dir, true) {
                tracing::warn!(instance = dir.name(), %error, "a dead machine cannot be cleaned up");
            }
            phase = dir.phase().map_err(broken)?;
        }
        let (phase, end) = match phase {
            dir::State::Unstarted => (Phase::Pending, None),
            dir::State::Alive => (Phase::Running, None),
            dir::State::Terminated | dir::State::Dead => (Phase::Stopping, None),
            dir::State::Ended(end) => (Phase::Ended, Some(end)),
        };
        if let Some(end) = &end
            && now().since(end.ended_at).0 > self.settings.keep_ended_ms
        {
            drop(fs::remove_dir_all(dir.path()));
            return Ok(None);
        }
        Ok(Some(Listed {
            instance: dir.instance(),
            launch: launch.launch,
            index: Some(launch.index),
            phase,
            launched_at: launch.launched_at,
            ended_at: end.as_ref().map(|end| end.ended_at),
            ended_estimated: end.is_some_and(|end| end.estimated),
            notice_at: None,
            reclaimed: false,
            name: launch.name,
            tags: launch.tags,
            address: None,
        }))
    }

    /// Makes `nodes/` and keeps every other provider value out of it until the file is dropped.
    fn alone(&self) -> Result<fs::File, ProviderError> {
        let root = self.nodes.root();
        let locked = self.nodes.make().and_then(|()| self.nodes.lock());
        locked.map_err(|error| unknown(format!("cannot use {}: {}", root.display(), plain(&error))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        // A panic elsewhere leaves the map whole: each entry is put in by one call.
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn reap(children: &mut BTreeMap<String, Child>) {
    children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
}

fn tail_of(path: &Path) -> io::Result<String> {
    let mut file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(CONSOLE_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(CONSOLE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub fn unknown(words: String) -> ProviderError {
    ProviderError::new(ErrorClass::Unknown, words)
}

fn failed(verb: &str, dir: &InstanceDir, error: &io::Error) -> ProviderError {
    unknown(format!("cannot {verb} {}: {}", dir.name(), plain(error)))
}

/// An error as people read it: without the number the standard library adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;

//! Stories: a seed with no more of its asks and faults than it takes to break an invariant, kept as a
//! file that replays bit for bit.
//!
//! Invariant: a story is told by seed, mode, plant and what is kept; nothing else decides it.
//! Deliberately absent: shrinking of the machines and of times, which come from the seed.
use crate::check::{self, Violation};
use crate::extras::EDITION;
use crate::plant::Plant;
use crate::say;
use crate::trace::Aloud;
use crate::world::{Mode, World};
use crate::{Outcome, run_world};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What of a seed takes place; `None` is everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Asks of users, by their place in the scenario.
    pub asks: Option<Vec<usize>>,
    /// Faults, by the order in which they would strike.
    pub strikes: Option<Vec<u64>>,
    /// Words of the kinds of faults that there are: a kind that was added later changes no story.
    #[serde(default)]
    pub kinds: Option<Vec<String>>,
    /// The edition of its scenario: what came later changes no story.
    #[serde(default = "first_edition")]
    pub edition: u32,
}

const fn first_edition() -> u32 {
    1
}

impl Default for Kept {
    fn default() -> Self {
        Self { asks: None, strikes: None, kinds: None, edition: EDITION }
    }
}

impl Kept {
    /// The ask at this place is made.
    #[must_use]
    pub fn has_ask(&self, at: usize) -> bool {
        self.asks.as_ref().is_none_or(|kept| kept.contains(&at))
    }

    /// The fault of this number strikes.
    #[must_use]
    pub fn has_strike(&self, number: u64) -> bool {
        self.strikes.as_ref().is_none_or(|kept| kept.binary_search(&number).is_ok())
    }
}

/// A story in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    pub seed: u64,
    pub mode: Mode,
    /// The word of the planted bug; without one it broke the product as it was.
    #[serde(default)]
    pub plant: Option<String>,
    /// The number of the invariant that it broke.
    pub broke: u8,
    /// What the checker said.
    pub said: String,
    #[serde(flatten)]
    pub kept: Kept,
}

impl Story {
    /// The story of a seed that broke something.
    #[must_use]
    pub fn of(outcome: &Outcome, plant: Plant) -> Option<Self> {
        let violation = outcome.verdict.as_ref().err()?;
        Some(Self {
            seed: outcome.seed,
            mode: outcome.mode,
            plant: plant.word().map(str::to_owned),
            broke: violation.number,
            said: violation.words.clone(),
            kept: Kept::default(),
        })
    }

    /// Its planted bug.
    #[must_use]
    pub fn planted(&self) -> Plant {
        self.plant.as_deref().and_then(Plant::named).unwrap_or_default()
    }

    /// Its world under some plant, before anything has happened.
    #[must_use]
    pub fn world(&self, plant: Plant) -> World {
        World::keeping(self.seed, self.mode, plant, self.kept.clone(), check::all())
    }

    /// Plays it; what it breaks.
    ///
    /// # Errors
    /// The invariant that breaks.
    pub fn play(&self, plant: Plant) -> Result<(), Violation> {
        run_world(&mut self.world(plant))
    }

    fn breaks_still(&self, kept: Kept) -> Option<Violation> {
        let story = Self { kept, ..self.clone() };
        story.play(self.planted()).err().filter(|violation| violation.number == self.broke)
    }
}

/// What there is to leave out of a story: places of asks and numbers of strikes.
fn whole(story: &Story) -> (Vec<usize>, Vec<u64>) {
    let mut world = story.world(story.planted());
    let asks = (0..world.scenario.asks.len()).filter(|at| story.kept.has_ask(*at)).collect();
    let _ = run_world(&mut world);
    let strikes = (0..world.struck).filter(|number| story.kept.has_strike(*number)).collect();
    (asks, strikes)
}

/// Leaves out of a story what it does not need, in at most `plays` plays (delta debugging: Zeller,
/// Hildebrandt 2002): halves of what is left, then quarters, down to single ones.
#[must_use]
pub fn shrink(story: &Story, plays: usize) -> Story {
    let mut left = plays;
    let (mut asks, mut strikes) = whole(story);
    let kinds: Vec<String> = story.world(story.planted()).faults.on().map(str::to_owned).collect();
    let kept = |asks: &[usize], strikes: &[u64]| Kept {
        asks: Some(asks.to_vec()),
        strikes: Some(strikes.to_vec()),
        kinds: Some(kinds.clone()),
        edition: story.kept.edition,
    };
    let breaks =
        |asks: &[usize], strikes: &[u64]| story.breaks_still(kept(asks, strikes)).is_some();
    loop {
        let before = asks.len() + strikes.len();
        asks = fewest(asks, &mut left, |asks| breaks(asks, &strikes));
        strikes = fewest(strikes, &mut left, |strikes| breaks(&asks, strikes));
        if asks.len() + strikes.len() == before || left == 0 {
            break;
        }
    }
    let kept = kept(&asks, &strikes);
    let broke = story.breaks_still(kept.clone());
    let said = broke.map_or_else(|| story.said.clone(), |violation| violation.words);
    Story { kept, said, ..story.clone() }
}

/// A smallest subset, in order, that `still` holds for: no single one can be left out of it.
pub fn fewest<T: Clone>(
    mut items: Vec<T>,
    left: &mut usize,
    mut still: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut chunk = items.len().div_ceil(2);
    while chunk > 0 && !items.is_empty() {
        let mut at = 0;
        let mut dropped = false;
        while at < items.len() {
            if *left == 0 {
                return items;
            }
            *left -= 1;
            let end = (at + chunk).min(items.len());
            let rest: Vec<T> = items[..at].iter().chain(&items[end..]).cloned().collect();
            if still(&rest) {
                items = rest;
                dropped = true;
            } else {
                at = end;
            }
        }
        // Once more with single ones, as long as that finds something.
        chunk = if chunk == 1 && dropped { 1 } else { chunk / 2 };
    }
    items
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/stories"))
}

/// Names of all stories in the project, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn names() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).context("the folder of stories")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The story of a name.
///
/// # Errors
/// There is none, or it is no story.
pub fn read(name: &str) -> anyhow::Result<Story> {
    let path = folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("there is no story {name}; `pcluster-sim story` lists them"))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no story", path.display()))
}

/// Keeps a story; its file.
///
/// # Errors
/// It cannot be written.
pub fn keep(name: &str, story: &Story) -> anyhow::Result<PathBuf> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    anyhow::ensure!(!name.is_empty() && name.chars().all(plain), "{name}: a-z, 0-9 and - only");
    std::fs::create_dir_all(folder())?;
    let path = folder().join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_string_pretty(story)? + "\n")?;
    Ok(path)
}

/// Tells a story line by line; true when it ends as it is written: a planted bug breaks what it
/// broke, and the product itself breaks nothing.
#[must_use]
pub fn tell(story: &Story) -> bool {
    let plant = story.planted();
    let mut world = story.world(plant);
    world.trace.begin(Aloud::Story, world.now);
    let verdict = run_world(&mut world);
    match (&verdict, plant) {
        (Err(violation), _) => say!("\n{violation}"),
        (Ok(()), Plant::Nothing) => say!("\nit once broke I{}: {}", story.broke, story.said),
        (Ok(()), _) => say!("\nnobody has seen the planted bug"),
    }
    match plant {
        Plant::Nothing => verdict.is_ok(),
        _ => verdict.is_err_and(|violation| violation.number == story.broke),
    }
}

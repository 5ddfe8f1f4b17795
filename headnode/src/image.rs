//! `pcluster image`: builds, lists and removes images on this machine; no head is needed.
//!
//! It is here because the head's program knows where images lie. Deliberately absent: the trial of an
//! image, which is a cluster of its own (the command makes it).
use crate::assemble::kernel;
use crate::boot::{ConfigFile, read_config};
use clap::{Args, Subcommand};
use pcluster_api::places::Surroundings;
use pcluster_images::{Image, ImageError, Progress, Recipe, Root, Store};
use pcluster_model::config::ImageSource;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// What is wanted.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build {
        name: String,
        #[arg(long)]
        again: bool,
    },
    List,
    Remove {
        name: String,
    },
}

/// Does it; 1 when it failed, in words.
#[must_use]
pub fn main(args: &ImageArgs) -> ExitCode {
    match obey(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}

fn obey(args: &ImageArgs) -> Result<(), String> {
    let file = read_config(&args.config).map_err(|error| error.to_string())?;
    let uid = rustix::process::geteuid().as_raw();
    let places = Surroundings::of_process(uid).places(&file.config.name);
    let places = places.map_err(|error| error.to_string())?;
    let store = Store::new(places.images);
    match &args.verb {
        Verb::Build { name, again } => build(&file, &store, name, *again, args.json),
        Verb::List => {
            list(&file, &store, args.json);
            Ok(())
        }
        Verb::Remove { name } => {
            let found = store.find(name).map_err(|error| error.to_string())?;
            store.remove(&found).map_err(|error| error.to_string())?;
            println!("{} is removed", found.full_name());
            Ok(())
        }
    }
}

/// How the file says that an image is made.
fn recipe(file: &ConfigFile, name: &str) -> Result<Recipe, String> {
    match file.config.image(name).map(|image| &image.source) {
        Some(ImageSource::Recipe { base, packages, files, setup }) => Ok(Recipe {
            base: base.clone(),
            packages: packages.clone(),
            files: files.iter().map(|(to, from)| (to.clone(), from.into())).collect(),
            setup: setup.as_ref().map(PathBuf::from),
        }),
        Some(ImageSource::BuiltIn) => Ok(Recipe::of_base(name)),
        Some(_) => Err(format!(
            "image {name} is not made from a recipe\nhint: [images.{name}] needs base = \"debian-12\" or \"minimal\""
        )),
        None => Err(format!(
            "there is no image {name} in {}\nhint: add [images.{name}] with base = \"debian-12\"",
            file.path.display()
        )),
    }
}

/// Steps as they begin, with the time since the start.
struct Talk(Instant);

impl Progress for Talk {
    fn step(&self, words: &str) {
        eprintln!("{:>5.0} s  {words}", self.0.elapsed().as_secs_f32());
    }
}

fn build(
    file: &ConfigFile,
    store: &Store,
    name: &str,
    again: bool,
    json: bool,
) -> Result<(), String> {
    let recipe = recipe(file, name)?;
    let talk = Talk(Instant::now());
    let words = |error: ImageError| error.to_string();
    let built = pcluster_images::build(store, name, &recipe, &kernel(&file.config), again, &talk)
        .map_err(words)?;
    if json {
        println!("{}", view(&built.image, file));
    } else if built.is_new {
        let seconds = talk.0.elapsed().as_secs();
        let size = built.image.bytes() >> 20;
        println!("{} is built: {size} MB, {seconds} s", built.image.full_name());
        eprintln!("hint: pcluster image test {name}    boots one and proves that it registers");
    } else {
        println!("{} is what the recipe says already", built.image.full_name());
        eprintln!("hint: --again builds with the packages of today");
    }
    Ok(())
}

/// Names of the file's images whose newest build is of another recipe.
pub(crate) fn stale(file: &ConfigFile, store: &Store) -> Vec<String> {
    let names = file.config.images.iter().map(|image| &image.name);
    let is_old = |name: &&String| store.find(name).is_ok_and(|image| is_stale(&image, file));
    names.filter(is_old).cloned().collect()
}

/// An image whose recipe in the file is another one now.
fn is_stale(image: &Image, file: &ConfigFile) -> bool {
    recipe(file, &image.manifest.name).is_ok_and(|recipe| recipe != image.manifest.recipe)
}

fn view(image: &Image, file: &ConfigFile) -> serde_json::Value {
    let manifest = &image.manifest;
    serde_json::json!({
        "schema": "pcluster.image/1", "name": manifest.name, "build": manifest.build,
        "base": manifest.recipe.base, "packages": manifest.recipe.packages, "kernel": manifest.kernel,
        "arch": manifest.arch, "made_at_ms": manifest.made_at.0, "bytes": image.bytes(),
        "root": match manifest.root { Root::Memory => "memory", Root::Disk { .. } => "disk" },
        "recipe_changed": is_stale(image, file), "directory": image.dir,
    })
}

fn list(file: &ConfigFile, store: &Store, json: bool) {
    let images = store.list();
    if json {
        let views: Vec<_> = images.iter().map(|image| view(image, file)).collect();
        println!("{}", serde_json::json!({ "schema": "pcluster.images/1", "images": views }));
        return;
    }
    if images.is_empty() {
        eprintln!(
            "no image is built here yet; `minimal` is made with the first node that needs it"
        );
        eprintln!("hint: pcluster image build NAME");
        return;
    }
    println!("{:<28} {:<10} {:>8}  {:<16} NOTE", "IMAGE", "BASE", "SIZE", "MADE");
    let mut last = "";
    for image in &images {
        let manifest = &image.manifest;
        let note = match (last == manifest.name, is_stale(image, file)) {
            (true, _) => "older",
            (false, true) => "its recipe has changed since",
            (false, false) => "",
        };
        last = &manifest.name;
        let made = jiff::Timestamp::from_millisecond(manifest.made_at.0).unwrap_or_default();
        let made = made.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M");
        let size = format!("{} MB", image.bytes() >> 20);
        let line = format!(
            "{:<28} {:<10} {size:>8}  {made:<16} {note}",
            image.full_name(),
            manifest.recipe.base
        );
        println!("{}", line.trim_end());
    }
}

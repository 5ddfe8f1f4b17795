//! Images: what each is made from, and whether a pool can boot it.
use crate::nearest::nearest;
use crate::problem::{Level, Problem, ProblemKind};
use crate::resolve::Resolver;
use crate::tree::{is_name, shorten};
use crate::value::{Value, quote};
use pcluster_model::config::{Image, ImageSource, Pool, ProviderKind};

const BUILT_IN: [&str; 3] = ["host", "minimal", "debian-12"];

/// The images that the file describes, in its order.
pub(super) fn images(r: &mut Resolver<'_>) -> Vec<Image> {
    let names: Vec<String> =
        r.tree.below(&["images"]).iter().filter_map(|entry| entry.path.get(1).cloned()).collect();
    names.into_iter().filter_map(|name| image(r, name)).collect()
}

/// A path beside the file, made absolute, because the head does not run in its folder.
pub(super) fn beside(r: &Resolver<'_>, path: String) -> String {
    if path.starts_with('/') {
        return path;
    }
    format!("{}/{}", r.source.folder.trim_end_matches('/'), path.trim_start_matches("./"))
}

/// `key = value` pairs of a table whose keys the file chooses.
fn pairs(r: &mut Resolver<'_>, path: &[&str]) -> Vec<(String, String)> {
    let below = r.tree.below(path);
    let read = |entry: &&crate::tree::Entry| match &entry.value {
        Value::Text(text) => Some((entry.path.last()?.clone(), text.clone())),
        _ => None,
    };
    below.iter().filter_map(read).collect()
}

fn image(r: &mut Resolver<'_>, name: String) -> Option<Image> {
    let kinds: Vec<&str> = ["directory", "qcow2", "ami", "base"]
        .into_iter()
        .filter(|key| r.tree.get(&["images", &name, key]).is_some())
        .collect();
    if let [first, second, ..] = kinds.as_slice() {
        let span = r.key_span(&["images", &name, second]);
        let message = format!("image {name} has both `{first}` and `{second}`");
        r.conflict(message, span, "an image is made in one way");
    }
    let recipe = ["packages", "files", "setup"]
        .into_iter()
        .find(|key| r.tree.get(&["images", &name, key]).is_some());
    if let (Some(part), false) = (recipe, kinds.contains(&"base")) {
        let span = r.key_span(&["images", &name, part]);
        let problem = Problem::new(
            ProblemKind::Missing,
            format!("image {name} has `{part}` but no `base`"),
            span,
        )
        .label("a recipe begins with an image")
        .hint("base = \"debian-12\"");
        r.problem(problem);
        return None;
    }
    let profile = r.text(&["images", &name, "profile"]).map(|path| beside(r, path));
    let text =
        |r: &mut Resolver<'_>, key: &str| r.text(&["images", &name, key]).unwrap_or_default();
    let source = match kinds.first().copied() {
        Some("directory") => {
            let path = text(r, "directory");
            ImageSource::Directory(beside(r, path))
        }
        Some("qcow2") => {
            let path = text(r, "qcow2");
            ImageSource::Qcow2(beside(r, path))
        }
        Some("ami") => ImageSource::Ami(pairs(r, &["images", &name, "ami"])),
        Some(_) => recipe_of(r, &name),
        None => match name.as_str() {
            "host" => ImageSource::Host,
            "minimal" | "debian-12" => ImageSource::BuiltIn,
            _ => {
                if !r.tree.is_bad(&["images", &name]) {
                    not_described(r, &name);
                }
                return None;
            }
        },
    };
    Some(Image { name, source, profile })
}

fn recipe_of(r: &mut Resolver<'_>, name: &str) -> ImageSource {
    let base = r.text(&["images", name, "base"]).unwrap_or_default();
    let packages = r.texts(&["images", name, "packages"]).unwrap_or_default();
    let files = pairs(r, &["images", name, "files"]);
    let setup = r.text(&["images", name, "setup"]);
    ImageSource::Recipe {
        base,
        packages: packages.into_iter().map(|(package, _)| package).collect(),
        files: files.into_iter().map(|(to, from)| (to, beside(r, from))).collect(),
        setup: setup.map(|path| beside(r, path)),
    }
}

fn not_described(r: &mut Resolver<'_>, name: &str) {
    let bad = ["directory", "qcow2", "ami", "base"];
    if bad.iter().any(|key| r.tree.is_bad(&["images", name, key])) {
        return;
    }
    let span = r.key_span(&["images", name]);
    let problem = Problem::new(
        ProblemKind::Missing,
        format!("image {name} does not say what it is made from"),
        span,
    )
    .label("one of `directory`, `qcow2`, `ami`, `base`");
    r.problem(problem);
}

/// Where a pool got its image from, for a problem with it.
fn place(r: &Resolver<'_>, pool: &str) -> Option<std::ops::Range<usize>> {
    r.span(&["pools", pool, "image"]).or_else(|| r.span(&["image"]))
}

/// What a provider can boot, in words.
const fn boots(provider: &ProviderKind) -> &'static str {
    match provider {
        ProviderKind::Process => "`host` or an image with a `directory`",
        ProviderKind::Ssh => "`host`",
        ProviderKind::Vm => "`minimal`, `debian-12`, a `qcow2` or a recipe",
        ProviderKind::Ec2 => "`debian-12`, an `ami` or a recipe",
        ProviderKind::External(_) => "any image",
    }
}

fn can_boot(provider: &ProviderKind, name: &str, source: &ImageSource) -> bool {
    match (provider, source) {
        (ProviderKind::Process, ImageSource::Host | ImageSource::Directory(_))
        | (ProviderKind::Ssh, ImageSource::Host)
        | (ProviderKind::External(_), _)
        | (
            ProviderKind::Vm,
            ImageSource::BuiltIn
            | ImageSource::Built
            | ImageSource::Qcow2(_)
            | ImageSource::Recipe { .. },
        )
        | (
            ProviderKind::Ec2,
            ImageSource::Built | ImageSource::Ami(_) | ImageSource::Recipe { .. },
        ) => true,
        (ProviderKind::Ec2, ImageSource::BuiltIn) => name == "debian-12",
        _ => false,
    }
}

/// Refuses an image that the pool cannot boot.
pub(super) fn check_pool(r: &mut Resolver<'_>, images: &[Image], pool: &Pool) {
    let base = pool.image.split('@').next().unwrap_or_default();
    let build = pool.image.split_once('@').map(|(_, build)| build);
    let span = place(r, pool.name.as_str());
    let right_build = build.is_none_or(|build| {
        !build.is_empty() && build.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if !is_name(base) || !right_build {
        let message = format!("{} is not a name of an image", quote(&shorten(&pool.image)));
        let problem = Problem::new(ProblemKind::BadName, message, span)
            .label("allowed: NAME or NAME@BUILD, [a-z0-9-]");
        once(r, problem);
        return;
    }
    let image = images.iter().find(|image| image.name == base);
    let source = match (image, base) {
        (Some(image), _) => image.source.clone(),
        (None, "host") => ImageSource::Host,
        (None, "minimal" | "debian-12") => ImageSource::BuiltIn,
        // Described, but wrongly: that was said already.
        (None, _) if r.tree.get(&["images", base]).is_some() => return,
        (None, _) => {
            not_in_file(r, images, pool, base, span);
            return;
        }
    };
    if !can_boot(&pool.provider, base, &source) {
        let provider = pool.provider.as_str();
        let message = format!("provider {provider} cannot boot image {base} in pool {}", pool.name);
        let problem = Problem::new(ProblemKind::Conflict, message, span)
            .label(format!("it boots {}", boots(&pool.provider)));
        once(r, problem);
        return;
    }
    check_arch(r, pool, base, span);
}

/// A mistake of the five lines is one, however many pools inherit it.
fn once(r: &mut Resolver<'_>, problem: Problem) {
    if !r.problems.iter().any(|known| known.span == problem.span && known.kind == problem.kind) {
        r.problem(problem);
    }
}

fn not_in_file(
    r: &mut Resolver<'_>,
    images: &[Image],
    pool: &Pool,
    name: &str,
    span: Option<std::ops::Range<usize>>,
) {
    if matches!(pool.provider, ProviderKind::Vm | ProviderKind::Ec2 | ProviderKind::External(_)) {
        let text = format!("image {name} is not in [images]: a build of that name must be there");
        if !r.notes.iter().any(|note| note.text == text) {
            r.note(Level::Note, span, text);
        }
        return;
    }
    let message = format!("there is no image {}", quote(&shorten(name)));
    let provider = &pool.provider;
    let problem = Problem::new(ProblemKind::BadValue, message, span).label(format!(
        "provider {} boots {}",
        provider.as_str(),
        boots(provider)
    ));
    let known = images.iter().map(|image| image.name.as_str()).chain(BUILT_IN);
    let problem = match nearest(name, known) {
        Some(near) => problem.hint(format!("did you mean {}?", quote(near))),
        None => problem.hint(format!("add [images.{name}] with directory = \"images/{name}\"")),
    };
    once(r, problem);
}

/// One image has one instruction set, and so must the types of its pool.
fn check_arch(
    r: &mut Resolver<'_>,
    pool: &Pool,
    image: &str,
    span: Option<std::ops::Range<usize>>,
) {
    let given = match r.tree.get(&["images", image, "arch"]).map(|entry| &entry.value) {
        Some(Value::Text(arch)) => Some(arch.clone()),
        _ => None,
    };
    let Some(arch) = given.or_else(|| pool.shapes.first().map(|shape| shape.arch.clone())) else {
        return;
    };
    let Some(odd) = pool.shapes.iter().find(|shape| shape.arch != arch) else { return };
    let span = r.span(&["pools", pool.name.as_str(), "types"]).or(span);
    let message = format!("type {} of pool {} is {}", odd.name, pool.name, odd.arch);
    r.conflict(message, span, format!("image {image} is for {arch} here"));
}

//! Every crate that we depend on has a line that says what it is for.
use super::Finding;
use super::tree::File;

const MANIFEST: &str = "Cargo.toml";
const PAGE: &str = "docs/dependencies.md";

/// Crates of the workspace's table without a line in the page.
pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let text =
        |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let (Some(manifest), Some(page)) = (text(MANIFEST), text(PAGE)) else { return Vec::new() };
    let lines =
        manifest.lines().enumerate().skip_while(|(_, line)| *line != "[workspace.dependencies]");
    lines
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
        .filter(|(_, line)| !line.contains("path ="))
        .filter_map(|(at, line)| Some((at + 1, line.split_once('=')?.0.trim())))
        .filter(|(_, name)| !page.contains(&format!("`{name}`")))
        .map(|(line, name)| Finding::at(MANIFEST, line, format!("`{name}` has no line in {PAGE}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_its_line_is_found() {
        let manifest = "[workspace.dependencies]\nours = { path = \"x\" }\nserde = \"1\"\nnew = \"2\"\n\n[profile.dev]\na = 1\n";
        let files = [
            File { path: MANIFEST.into(), text: manifest.into() },
            File { path: PAGE.into(), text: "| `serde` | rows |\n".into() },
        ];
        let found = check(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, "Cargo.toml:4");
        assert!(found[0].what.starts_with("`new`"));
    }
}

//! Which GPUs a machine has, by what its drivers show below `/proc`, `/dev` and `/sys`.
//!
//! Invariant: everything is looked for below one root, which is `/` but in tests. The order is that of
//! the bus, which programs are told to use too, so that an index means the same to everybody.
//! Deliberately absent: loading drivers, and GPUs of two makers in one machine (NVIDIA's count then).
use crate::clock;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A driver's tool that takes longer tells nothing.
const TOOL: Duration = Duration::from_secs(20);

/// One GPU of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its place in the order of the bus, from 0.
    pub index: u32,
    /// Where it is on the bus: its name for everybody on this machine.
    pub bus: String,
    /// Its model as shapes name it, `a100`; empty when nobody knows.
    pub kind: String,
    /// The device files that are its own.
    pub files: Vec<PathBuf>,
}

/// What was found, and what is to be told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    pub gpus: Vec<Gpu>,
    /// Those of the same machine that are other nodes' or nobody's.
    pub others: Vec<Gpu>,
    pub notes: Vec<String>,
}

/// The GPUs of this machine. `tool` asks a driver's own program by name for a list, a line for each GPU.
pub fn find(root: &Path, tool: impl Fn(&str, &[&str]) -> Option<Vec<String>>) -> Found {
    let nvidia = nvidia(root);
    let mut found = if nvidia.is_empty() {
        Found { gpus: amd(root), ..Found::default() }
    } else {
        Found { gpus: nvidia, ..Found::default() }
    };
    if found.gpus.is_empty() {
        return found;
    }
    for (index, gpu) in (0..).zip(&mut found.gpus) {
        gpu.index = index;
    }
    let is_nvidia = root.join("proc/driver/nvidia/gpus").is_dir();
    let asked = if is_nvidia {
        tool("nvidia-smi", &["--query-gpu=pci.bus_id", "--format=csv,noheader"])
    } else {
        None
    };
    // One that has fallen off the bus is still listed by the driver, and answers nobody.
    if let Some(lines) = asked {
        let answers = |gpu: &Gpu| lines.iter().any(|line| same_bus(line, &gpu.bus));
        let (there, lost): (Vec<Gpu>, Vec<Gpu>) = found.gpus.into_iter().partition(answers);
        let note = |gpu: &Gpu| format!("the GPU at {} does not answer nvidia-smi", gpu.bus);
        let notes = lost.iter().map(note).collect();
        found = Found { gpus: there, others: lost, notes };
    }
    found.gpus.retain(|gpu| {
        let missing = gpu.files.iter().find(|file| !is_device(&root.join(strip(file))));
        if let Some(file) = missing {
            found.notes.push(format!("the GPU at {} has no {}", gpu.bus, file.display()));
        }
        missing.is_none()
    });
    found
}

/// `00000000:07:00.0` of the tool is `0000:07:00.0` of the driver.
fn same_bus(line: &str, bus: &str) -> bool {
    let tail = |text: &str| text.trim().to_ascii_lowercase().trim_start_matches('0').to_owned();
    tail(line) == tail(bus)
}

fn strip(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|seen| seen.file_type().is_char_device())
}

/// Major and minor number of a device file, for control groups.
pub fn numbers(file: &Path) -> Option<(u32, u32)> {
    let seen = fs::metadata(file).ok().filter(|seen| seen.file_type().is_char_device())?;
    Some((rustix::fs::major(seen.rdev()), rustix::fs::minor(seen.rdev())))
}

/// `/proc/driver/nvidia/gpus/BUS/information`.
fn nvidia(root: &Path) -> Vec<Gpu> {
    let entries =
        fs::read_dir(root.join("proc/driver/nvidia/gpus")).into_iter().flatten().flatten();
    let mut gpus: Vec<Gpu> = entries
        .filter_map(|entry| {
            let bus = entry.file_name().into_string().ok()?;
            let text = fs::read_to_string(entry.path().join("information")).ok()?;
            let minor: u32 = field(&text, "Device Minor")?.parse().ok()?;
            Some(Gpu {
                index: 0,
                bus,
                kind: kind_of(field(&text, "Model").unwrap_or_default()),
                files: vec![PathBuf::from(format!("/dev/nvidia{minor}"))],
            })
        })
        .collect();
    gpus.sort_by(|a, b| a.bus.cmp(&b.bus));
    gpus
}

/// `/sys/class/kfd/kfd/topology/nodes/N`: those with compute units of a GPU. Their order is the one of
/// the numbers, in which the runtime has them too.
fn amd(root: &Path) -> Vec<Gpu> {
    if !is_device(&root.join("dev/kfd")) {
        return Vec::new();
    }
    let nodes = root.join("sys/class/kfd/kfd/topology/nodes");
    let entries = fs::read_dir(nodes).into_iter().flatten().flatten();
    let mut gpus: Vec<(u32, Gpu)> = entries
        .filter_map(|entry| {
            let number: u32 = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(entry.path().join("properties")).ok()?;
            let property = |name: &str| -> Option<u64> {
                let mut lines = text.lines().filter_map(|line| line.split_once(' '));
                lines.find(|(word, _)| *word == name)?.1.trim().parse().ok()
            };
            if property("simd_count")? == 0 {
                return None;
            }
            let (domain, location) = (property("domain").unwrap_or(0), property("location_id")?);
            let (bus, slot, part) = (location >> 8, location >> 3 & 0x1f, location & 7);
            let render = property("drm_render_minor")?;
            Some((
                number,
                Gpu {
                    index: 0,
                    bus: format!("{domain:04x}:{bus:02x}:{slot:02x}.{part:x}"),
                    // The kernel has a name of its own for the chip, which no shape goes by.
                    kind: String::new(),
                    files: vec![PathBuf::from(format!("/dev/dri/renderD{render}"))],
                },
            ))
        })
        .collect();
    gpus.sort_by_key(|(number, _)| *number);
    gpus.into_iter().map(|(_, gpu)| gpu).collect()
}

/// The value after `NAME:` of its own line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(word, _)| word.trim() == name).map(|(_, value)| value.trim())
}

/// `NVIDIA A100-SXM4-40GB` is an `a100`, `NVIDIA GeForce RTX 4090` an `rtx4090`.
fn kind_of(model: &str) -> String {
    const MAKERS: [&str; 4] = ["nvidia", "tesla", "geforce", "quadro"];
    let text = model.to_ascii_lowercase();
    let mut words = text.split([' ', '-', '_']).filter(|word| !MAKERS.contains(word));
    let first = words.next().unwrap_or_default();
    let series = ["rtx", "gtx", "titan"].contains(&first);
    let rest = if series { words.next().unwrap_or_default() } else { "" };
    format!("{first}{rest}")
}

/// Asks a tool of `PATH` for lines, if there is one and it answers in time.
pub fn ask(program: &str, words: &[&str]) -> Option<Vec<String>> {
    let mut asked = Command::new(program);
    asked.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = asked.spawn().ok()?;
    let until = Instant::now() + TOOL;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(Some(_)) | Ok(None) | Err(_) => {
                // A driver that hangs may keep it for ever: nobody waits for its end.
                drop(child.kill());
                clock::say(&format!("{program} does not answer; its driver's files count"));
                return None;
            }
        }
    }
    // A list of GPUs is far smaller than a pipe.
    let text = std::io::read_to_string(child.stdout.take()?).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up machine.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pcg-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("dev/dri")).unwrap();
            Self(path)
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// A device file: a link to one that every machine has.
        fn device(&self, file: &str) {
            std::os::unix::fs::symlink("/dev/null", self.0.join(file)).unwrap();
        }

        fn nvidia(&self, bus: &str, model: &str, minor: u32) {
            let text = format!(
                "Model: \t\t {model}\nIRQ:   \t\t 44\nGPU UUID: \t GPU-1\nBus Type: \t PCIe\n\
                 Bus Location: \t {bus}\nDevice Minor: \t {minor}\n"
            );
            self.write(&format!("proc/driver/nvidia/gpus/{bus}/information"), &text);
            self.device(&format!("dev/nvidia{minor}"));
        }

        fn kfd(&self, number: u32, simds: u32, render: u32, location: u32) {
            let text = format!(
                "cpu_cores_count 0\nsimd_count {simds}\nlocation_id {location}\ndomain 0\n\
                 drm_render_minor {render}\ngfx_target_version 90010\n"
            );
            self.write(&format!("sys/class/kfd/kfd/topology/nodes/{number}/properties"), &text);
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn no_tool(_: &str, _: &[&str]) -> Option<Vec<String>> {
        None
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let tree = Tree::new("none");
        assert_eq!(find(&tree.0, no_tool), Found::default());
    }

    #[test]
    fn nvidia_gpus_are_in_the_order_of_the_bus() {
        let tree = Tree::new("nvidia");
        tree.nvidia("0000:0f:00.0", "NVIDIA A100-SXM4-40GB", 0);
        tree.nvidia("0000:07:00.0", "NVIDIA A100-SXM4-40GB", 1);
        let found = find(&tree.0, no_tool);
        let short = |gpu: &Gpu| (gpu.index, gpu.bus.clone(), gpu.kind.clone(), gpu.files.clone());
        assert_eq!(
            found.gpus.iter().map(short).collect::<Vec<_>>(),
            [
                (0, "0000:07:00.0".into(), "a100".into(), vec![PathBuf::from("/dev/nvidia1")]),
                (1, "0000:0f:00.0".into(), "a100".into(), vec![PathBuf::from("/dev/nvidia0")]),
            ]
        );
        assert!(found.notes.is_empty());
    }

    #[test]
    fn a_gpu_that_its_own_tool_does_not_see_or_that_has_no_file_does_not_count() {
        let tree = Tree::new("lost");
        tree.nvidia("0000:07:00.0", "Tesla T4", 0);
        tree.nvidia("0000:08:00.0", "Tesla T4", 1);
        tree.nvidia("0000:0A:00.0", "Tesla T4", 2);
        fs::remove_file(tree.0.join("dev/nvidia2")).unwrap();
        let found = find(&tree.0, |program, _| {
            assert_eq!(program, "nvidia-smi");
            Some(vec!["00000000:07:00.0".into(), " 00000000:0A:00.0".into()])
        });
        assert_eq!(
            found.gpus.iter().map(|gpu| gpu.bus.as_str()).collect::<Vec<_>>(),
            ["0000:07:00.0"]
        );
        assert_eq!(
            found.notes,
            [
                "the GPU at 0000:08:00.0 does not answer nvidia-smi",
                "the GPU at 0000:0A:00.0 has no /dev/nvidia2",
            ]
        );
    }

    #[test]
    fn amd_gpus_are_the_nodes_of_the_topology_that_compute() {
        let tree = Tree::new("amd");
        tree.kfd(0, 0, 0, 0);
        tree.kfd(2, 440, 129, 0xc100);
        tree.kfd(1, 440, 128, 0x8300);
        assert!(find(&tree.0, no_tool).gpus.is_empty(), "without /dev/kfd nobody computes");
        tree.device("dev/kfd");
        tree.device("dev/dri/renderD128");
        tree.device("dev/dri/renderD129");
        let found = find(&tree.0, no_tool).gpus;
        let buses: Vec<&str> = found.iter().map(|gpu| gpu.bus.as_str()).collect();
        assert_eq!(buses, ["0000:83:00.0", "0000:c1:00.0"]);
        assert_eq!(found[1].files, [PathBuf::from("/dev/dri/renderD129")]);
    }

    #[test]
    fn models_are_named_as_shapes_name_them() {
        for (model, kind) in [
            ("NVIDIA A100-SXM4-40GB", "a100"),
            ("NVIDIA A10G", "a10g"),
            ("Tesla V100-SXM2-16GB", "v100"),
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("NVIDIA GeForce RTX 4090", "rtx4090"),
            ("NVIDIA L4", "l4"),
            ("", ""),
        ] {
            assert_eq!(kind_of(model), kind, "{model}");
        }
    }

    #[test]
    fn a_tool_that_is_not_there_or_fails_tells_nothing() {
        assert_eq!(ask("pcluster-no-such-tool", &[]), None);
        assert_eq!(ask("false", &[]), None);
        assert_eq!(ask("echo", &["one"]), Some(vec!["one".to_owned()]));
    }
}

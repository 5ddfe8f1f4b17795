//! `[vm]`: virtual machines on the head's machine.
use super::images::beside;
use crate::problem::{Origin, Problem, ProblemKind};
use crate::resolve::Resolver;
use crate::value::quote;
use pcluster_model::Subnet;
use pcluster_model::config::{Vm, VmAccel, VmNetwork};

const SUBNET: &str = "10.87.0.0/24";

/// True when nodes are on a bridge.
pub(super) fn is_bridged(r: &mut Resolver<'_>) -> bool {
    r.text(&["vm", "network"]).as_deref() == Some("bridge")
}

/// The whole table.
pub(super) fn vm(r: &mut Resolver<'_>) -> Vm {
    let accel = match r.text(&["vm", "accel"]).as_deref() {
        Some("kvm") => VmAccel::Kvm,
        Some("tcg") => VmAccel::Tcg,
        _ => VmAccel::Auto,
    };
    Vm { accel, network: network(r), kernel: kernel(r) }
}

fn network(r: &mut Resolver<'_>) -> VmNetwork {
    if !is_bridged(r) {
        for key in ["bridge", "subnet"] {
            if r.tree.get(&["vm", key]).is_some() {
                let span = r.key_span(&["vm", key]);
                let message = format!("`vm.{key}` is for nodes on a bridge");
                r.conflict(message, span, "network = \"bridge\" is missing");
            }
        }
        return VmNetwork::User;
    }
    let bridge = r.text(&["vm", "bridge"]);
    if let Some(name) = &bridge {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 15 || !name.bytes().all(letters) {
            let span = r.span(&["vm", "bridge"]);
            let message =
                format!("{} is not a name of a bridge", quote(&crate::tree::shorten(name)));
            r.problem(Problem::new(ProblemKind::BadValue, message, span));
        }
    }
    let subnet = r.text(&["vm", "subnet"]).unwrap_or_else(|| {
        r.settle(&["vm", "subnet"], quote(SUBNET), Origin::Default);
        SUBNET.into()
    });
    match subnet.parse::<Subnet>() {
        Ok(subnet) => VmNetwork::Bridge { bridge, subnet },
        Err(why) => {
            let span = r.span(&["vm", "subnet"]);
            r.problem(Problem::new(ProblemKind::BadValue, why, span));
            VmNetwork::User
        }
    }
}

/// A kernel has its own modules: one without the other boots nothing.
fn kernel(r: &mut Resolver<'_>) -> Option<(String, String)> {
    let kernel = r.text(&["vm", "kernel"]).map(|path| beside(r, path));
    let modules = r.text(&["vm", "modules"]).map(|path| beside(r, path));
    match (kernel, modules) {
        (Some(kernel), Some(modules)) => Some((kernel, modules)),
        (None, None) => None,
        (given, _) => {
            let (there, missing) =
                if given.is_some() { ("kernel", "modules") } else { ("modules", "kernel") };
            let span = r.key_span(&["vm", there]);
            r.conflict(format!("`vm.{there}` needs `vm.{missing}`"), span, "they belong together");
            None
        }
    }
}

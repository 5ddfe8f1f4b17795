//! `[ec2]`, and what only EC2 has of a pool.
use super::pool::PoolSource;
use crate::catalogue;
use crate::problem::{Origin, Problem, ProblemKind};
use crate::resolve::Resolver;
use crate::value::quote;
use pcluster_model::config::{Ec2, Ec2Pool, ProviderKind};

/// The whole table.
pub(super) fn ec2(r: &mut Resolver<'_>) -> Ec2 {
    let region = r.text(&["ec2", "region"]).unwrap_or_else(|| {
        r.settle(&["ec2", "region"], quote(catalogue::EC2_REGION), Origin::Default);
        catalogue::EC2_REGION.into()
    });
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.len() > 32 || !region.contains('-') || !region.bytes().all(letters) {
        let span = r.span(&["ec2", "region"]);
        let message = format!("{} is not a region", quote(&crate::tree::shorten(&region)));
        let problem = Problem::new(ProblemKind::BadValue, message, span);
        r.problem(problem.label("write it as EC2 does, such as \"eu-west-1\""));
    }
    Ec2 { region, allow: allow(r), instance_profile: instance_profile(r) }
}

/// Networks as AWS writes them.
fn allow(r: &mut Resolver<'_>) -> Vec<String> {
    let networks = r.texts(&["ec2", "allow"]).unwrap_or_default();
    for (network, span) in networks.iter().filter(|(network, _)| !is_network(network)) {
        let message = format!("{} is not a network", quote(&crate::tree::shorten(network)));
        let problem = Problem::new(ProblemKind::BadValue, message, Some(span.clone()));
        r.problem(problem.label("write it as ADDRESS/BITS, such as \"203.0.113.0/24\""));
    }
    networks.into_iter().map(|(network, _)| network).collect()
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let bits: Option<u8> = bits.parse().ok();
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.is_some_and(|bits| bits <= most)
}

fn instance_profile(r: &mut Resolver<'_>) -> String {
    r.text(&["ec2", "instance_profile"]).unwrap_or_else(|| {
        let usual = Ec2::default().instance_profile;
        r.settle(&["ec2", "instance_profile"], quote(&usual), Origin::Default);
        usual
    })
}

/// Of one pool; other providers have none of it.
pub(super) fn of_pool(r: &mut Resolver<'_>, source: &PoolSource) -> Ec2Pool {
    let at = |key| ["pools", source.name.as_str(), key];
    if source.provider != ProviderKind::Ec2 {
        for key in ["placement", "efa", "reservation"] {
            if r.tree.get(&at(key)).is_some() {
                let span = r.key_span(&at(key));
                let message = format!("`{key}` is for provider ec2");
                r.conflict(
                    message,
                    span,
                    format!("pool {} is of {}", source.name, source.provider.as_str()),
                );
            }
        }
        return Ec2Pool::default();
    }
    let reservation = r.text(&at("reservation"));
    if let Some(id) = &reservation
        && !id
            .strip_prefix("cr-")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        let span = r.span(&at("reservation"));
        let message = format!("{} is not a capacity reservation", quote(&crate::tree::shorten(id)));
        r.problem(
            Problem::new(ProblemKind::BadValue, message, span).label("write its id: \"cr-0123…\""),
        );
    }
    Ec2Pool {
        together: r.text(&at("placement")).as_deref() == Some("together"),
        efa: r.bool_or(&at("efa"), false, Origin::Default),
        smt: r.bool_or(&at("smt"), true, Origin::Default),
        reservation,
    }
}

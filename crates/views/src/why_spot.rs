//! `why` of what waits for a spot machine, or for one that is cheap enough.
use super::why::{Frame, title};
use super::{Cx, why_launch};
use pcluster_core::Job;
use pcluster_core::event::OfferingKey;
use pcluster_core::plan::Wait;
use pcluster_model::job::SpotAsk;

/// `c6i.4xlarge spot in subnet-0aaa`.
pub(super) fn kind_words(offering: &OfferingKey) -> String {
    let spot = if offering.spot { " spot" } else { "" };
    let place = match offering.subnet.as_str() {
        "" => String::new(),
        subnet => format!(" in {subnet}"),
    };
    format!("{}{spot}{place}", offering.shape)
}

/// Spot machines are refused for now, or all that is had is too dear.
pub(super) fn of(cx: &Cx<'_>, job: &Job, wait: &Wait, frame: Frame) -> Frame {
    let who = title(job);
    match wait {
        Wait::Spot { offering, class, message, next_try, on_demand_at } => {
            let (shape, pool) = (&offering.shape, &offering.pool);
            let by = why_launch::provider(cx.cluster, offering);
            let no = match class.as_str() {
                "no_capacity" => format!("{by} has no {shape} as spot at the moment"),
                "quota" => format!("{by} allows no more {shape} as spot"),
                _ => format!("{by} gave no {shape} as spot"),
            };
            let frame = frame
                .saying(format!("{who} waits for a spot machine: {no}"))
                .fact("answer", message.clone());
            let frame = match why_launch::others(cx, offering) {
                tried if tried.is_empty() => frame,
                tried => frame.fact("tried too", tried.join("; ")),
            };
            let next = cx.clock(cx.wall(*next_try));
            match on_demand_at {
                Some(at) => frame
                    .fact("next try", format!("{next}, as spot"))
                    .fact("on demand", format!("from {} on", cx.clock(cx.wall(*at))))
                    .change(format!("a shorter spot_patience, or more types or subnets in [pools.{pool}] (admin)")),
                None if job.spec.spot == SpotAsk::Only => frame
                    .fact("next try", next)
                    .fact("on demand", "never: the job says --spot=only".to_owned())
                    .change(format!("pcluster update {} --spot yes", job.id)),
                None => frame
                    .fact("next try", next)
                    .fact("on demand", format!("never: spot = \"only\" in [pools.{pool}]"))
                    .change(format!("spot = true, or more types or subnets in [pools.{pool}] (admin)")),
            }
        }
        Wait::Dear { offering, price, most } => {
            let kind = kind_words(offering);
            frame
                .saying(format!("{who} waits: every machine that holds it is dearer than {most}"))
                .fact("cheapest", format!("{kind}: {price}"))
                .change(format!("a higher max_price in [pools.{}] (admin)", offering.pool))
        }
        _ => frame,
    }
}

//! `status`: one screen of truth; and the last words of `down`.
use crate::look::Look;
use crate::text::{clean, counted, facts, hourly, money, size_words, thousands};
use pcluster_api::{DownView, StatusView};
use pcluster_model::DurationMs;
use pcluster_model::units::span_words;

const LABELS: usize = 10;

/// The provider as people write it.
fn provider_name(provider: &str) -> String {
    match provider {
        "ec2" => "EC2".to_owned(),
        other => clean(other),
    }
}

fn since(from_ms: i64, now_ms: i64) -> DurationMs {
    DurationMs(u64::try_from(now_ms.saturating_sub(from_ms)).unwrap_or(0))
}

fn money_words(view: &StatusView, look: &Look) -> String {
    let stands = match view.standing.is_empty() {
        true => String::new(),
        false => {
            let labels = clean(&view.standing.join(", "));
            format!(", {} of it for {labels}", hourly(view.standing_per_hour_micro_usd))
        }
    };
    let now = format!(
        "now {}/h{stands}; {} {}",
        hourly(view.price_per_hour_micro_usd),
        look.month(view.now_ms),
        money(view.month_micro_usd)
    );
    match view.budget_micro_usd {
        Some(budget) if budget > 0 => {
            let (spent, budget_exact) = (i128::from(view.month_micro_usd), i128::from(budget));
            let share = (spent * 200 + budget_exact) / (budget_exact * 2);
            format!("{now} of {} ({share} %)", money(budget))
        }
        _ => now,
    }
}

fn nodes_words(view: &StatusView) -> String {
    let mut words = format!(
        "{} busy, {} idle, {} booting of at most {}",
        view.nodes_busy, view.nodes_idle, view.nodes_booting, view.nodes_max
    );
    if view.nodes_failed_last_hour > 0 {
        words.push_str(&format!("; {} failed in the last hour", view.nodes_failed_last_hour));
    }
    words
}

fn listed_words(view: &StatusView) -> String {
    let Some(at) = view.listed_at_ms else { return "not asked yet".to_owned() };
    format!(
        "{} there, {} known here, {} unknown; checked {} ago",
        counted(view.instances_listed.into(), "instance"),
        view.instances_listed.saturating_sub(view.instances_unknown),
        view.instances_unknown,
        span_words(since(at, view.now_ms))
    )
}

fn jobs_words(view: &StatusView) -> String {
    format!(
        "{} running, {} starting, {} waiting, {} held; {} done this month",
        view.jobs_running,
        view.jobs_starting,
        view.jobs_queued,
        view.jobs_held,
        thousands(view.jobs_done_this_month)
    )
}

/// The page of `status`.
#[must_use]
pub fn status(view: &StatusView, look: &Look) -> String {
    let phase = match view.phase.as_str() {
        "up" => String::new(),
        "closing" => "  going down".to_owned(),
        other => format!("  {}", clean(other)),
    };
    let mut out = format!(
        "{}  {}  up {}  pcluster {}{phase}\n",
        clean(&view.cluster),
        clean(&view.provider),
        span_words(since(view.started_at_ms, view.now_ms)),
        clean(&view.version)
    );
    let provider = provider_name(&view.provider);
    let rows = [
        ("config", view.config_file.clone()),
        (
            "head",
            format!(
                "{}   pid {}, CPU {} %, {}, {} of disk free",
                view.node_address,
                view.pid,
                view.cpu_percent,
                size_words(view.memory_bytes),
                size_words(view.disk_free_bytes)
            ),
        ),
        ("jobs", jobs_words(view)),
        ("nodes", nodes_words(view)),
        ("money", money_words(view, look)),
        (provider.as_str(), listed_words(view)),
        ("state", view.state_dir.clone()),
    ];
    let rows: Vec<(String, String)> =
        rows.into_iter().map(|(label, text)| (label.to_owned(), text)).collect();
    out.push_str(&facts(&rows, LABELS, look.width));
    let notes: Vec<(String, String)> =
        view.notes.iter().map(|note| ("note".to_owned(), note.clone())).collect();
    out.push_str(&facts(&notes, LABELS, look.width));
    if view.attention.is_empty() {
        out.push_str("all is well\n");
    } else {
        out.push_str("attention\n");
        out.push_str(&facts(&view.attention, LABELS, look.width));
        out.push_str("all else is well\n");
    }
    out
}

/// The first words of `down`.
#[must_use]
pub fn down_begins(view: &DownView, now: bool, look: &Look) -> String {
    let mut out = String::new();
    if view.running > 0 && !now {
        let jobs = counted(view.running, "running job");
        let last = match view.last_end_ms {
            Some(at) => format!("the last ends by {}", look.clock(at)),
            None => "no time limit says when they end".to_owned(),
        };
        out.push_str(&format!("waits for {jobs}, {last}   (--now cancels them)\n"));
    }
    if view.waiting > 0 {
        let jobs = if view.waiting == 1 {
            "1 waiting job stays".to_owned()
        } else {
            format!("{} waiting jobs stay", view.waiting)
        };
        out.push_str(&format!("{jobs} in the queue for the next `pcluster up`\n"));
    }
    out
}

/// The proof at the end of `down`; queue and bill go when the storage goes.
#[must_use]
pub fn down_ends(view: &DownView, cluster: &str, and_storage: bool) -> String {
    let list = "the provider's own list has nothing of this cluster";
    let mut out = if view.nodes_left == 0 && view.instances_left == 0 {
        format!("nodes      0 left: {list}\n")
    } else {
        format!(
            "nodes      {} left, {} in the provider's own list\n",
            view.nodes_left, view.instances_left
        )
    };
    for line in &view.cleaned {
        out.push_str(&format!("also       {}\n", clean(line)));
    }
    out.push_str(&format!("head       of {} has stopped\n", clean(cluster)));
    out.push_str(if and_storage {
        "gone       the queue, the history, the bill and the shared files, with the volume\n"
    } else {
        "kept       the queue, the history and the bill\n"
    });
    out
}

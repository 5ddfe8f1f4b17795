//! What `submit` says beside the id.
use crate::look::Look;
use crate::text::{clean, hourly, label_line, money};
use pcluster_api::{EstimateView, SubmitResponse};

const LABELS: usize = 8;

/// The frame on stderr: what was asked, when it starts and ends, what it costs, where output goes.
#[must_use]
pub fn estimate(answer: &SubmitResponse, look: &Look) -> String {
    let view = &answer.estimate;
    let who = match answer.job {
        0 => "estimate".to_owned(),
        job => format!("job {job}"),
    };
    let name = clean(&answer.name);
    let mut out = format!("{who}  {name}  {}\n", clean(&view.asked));
    if answer.repeated {
        let text = "this key was used before: this is that job, nothing was added".to_owned();
        out.push_str(&label_line("again", &text, LABELS, look.width));
    }
    for (label, text) in [
        ("starts", starts(view, look)),
        ("ends", ends(view, &name, look)),
        ("costs", costs(view)),
        ("output", view.output.clone()),
    ] {
        if !text.is_empty() {
            out.push_str(&label_line(label, &text, LABELS, look.width));
        }
    }
    for note in &view.notes {
        out.push_str(&format!("note: {}\n", clean(note)));
    }
    match answer.job {
        0 => {}
        job => out.push_str(&format!(
            "hint: pcluster logs -f {job}   pcluster why {job}   pcluster cancel {job}\n"
        )),
    }
    out
}

fn starts(view: &EstimateView, look: &Look) -> String {
    match view.start_ms {
        // At once needs no time of day.
        Some(at) if at - look.now_ms >= 1000 && !view.start.starts_with("at once") => {
            let about = format!("about {}", look.clock(at));
            if view.start.is_empty() { about } else { format!("{about}: {}", view.start) }
        }
        _ => view.start.clone(),
    }
}

fn ends(view: &EstimateView, name: &str, look: &Look) -> String {
    match (view.history_runs, view.end_ms) {
        (0, None) => format!("unknown: no run of {name} yet, and no time limit"),
        (0, Some(at)) => {
            format!("unknown: no run of {name} yet; the limit ends it at {}", look.clock(at))
        }
        (1, Some(at)) => format!("about {}, from your last run of {name}", look.clock(at)),
        (runs, Some(at)) => {
            format!("about {}, from your last {runs} runs of {name}", look.clock(at))
        }
        (_, None) => String::new(),
    }
}

fn costs(view: &EstimateView) -> String {
    let mut parts = Vec::new();
    match (view.cost_micro_usd, view.cost_at_most_micro_usd, view.price_per_hour_micro_usd) {
        (Some(about), Some(most), _) => {
            parts.push(format!("about {}; at most {}", money(about), money(most)))
        }
        (Some(about), None, _) => parts.push(format!("about {}", money(about))),
        (None, Some(most), Some(price)) => {
            parts.push(format!("{} an hour; at most {}", hourly(price), money(most)));
        }
        (None, Some(most), None) => parts.push(format!("at most {}", money(most))),
        (None, None, Some(price)) => parts.push(format!("{} an hour, no limit set", hourly(price))),
        (None, None, None) => parts.push("unknown: no price for these nodes".to_owned()),
    }
    if let Some(left) = view.budget_left_micro_usd {
        parts.push(format!("you have {} left", money(left)));
    }
    parts.join("; ")
}

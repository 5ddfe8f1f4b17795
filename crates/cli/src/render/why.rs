//! `why`: one frame for every cause.
use crate::look::Look;
use crate::text::{clean, facts, headline};
use pcluster_api::WhyView;

const LABELS: usize = 10;

/// Cause and time, then facts, then the smallest change.
#[must_use]
pub fn why(view: &WhyView, look: &Look) -> String {
    let mut out = headline(&view.headline, look.width);
    out.push_str(&facts(&view.facts, LABELS, look.width));
    let changes: Vec<(String, String)> = view
        .change
        .iter()
        .enumerate()
        .map(|(at, text)| (if at == 0 { "change".to_owned() } else { String::new() }, text.clone()))
        .collect();
    out.push_str(&facts(&changes, LABELS, look.width));
    for hint in &view.hints {
        out.push_str(&format!("hint: {}\n", clean(hint)));
    }
    out
}

//! `doctor`: findings by topic, what to do below each, and the sum.
use crate::look::Look;
use crate::text::{clean, counted, facts};
use pcluster_api::{DoctorView, Finding, Level};

/// `attention` and two spaces.
const WORD: usize = 11;

fn finding(one: &Finding, look: &Look) -> String {
    let word = match one.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Attention => "attention",
    };
    let mut rows = vec![(word.to_owned(), one.what.clone())];
    if !one.why.is_empty() {
        rows.push((String::new(), one.why.clone()));
    }
    let mut out = facts(&rows, WORD, look.width);
    for hint in &one.hints {
        // Whole, however long: it is copied.
        out.push_str(&format!("  {:WORD$}hint: {}\n", "", clean(hint)));
    }
    out
}

/// The page.
#[must_use]
pub fn doctor(view: &DoctorView, look: &Look) -> String {
    let mut out = String::new();
    let mut topic = None;
    for one in &view.findings {
        if topic != Some(one.topic) {
            out.push_str(&format!("{}\n", one.topic.word()));
            topic = Some(one.topic);
        }
        out.push_str(&finding(one, look));
    }
    let notes = view.findings.iter().filter(|one| one.level == Level::Note).count();
    let well = view.findings.len() - notes - view.attention;
    let noted = match notes {
        0 => String::new(),
        some => format!(", {}", counted(some as u64, "note")),
    };
    let checks = match well {
        1 => "1 check is well".to_owned(),
        _ => format!("{} are well", counted(well as u64, "check")),
    };
    out.push_str(&match view.attention {
        0 => format!("nothing needs attention: {checks}{noted}\n"),
        1 => format!("1 thing needs attention; {checks}{noted}\n"),
        more => format!("{more} things need attention; {checks}{noted}\n"),
    });
    out
}

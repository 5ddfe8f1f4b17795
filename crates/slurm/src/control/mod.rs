//! What changes jobs: `scancel`, and the verbs of `scontrol` but `show`.
use crate::Context;
use crate::options::{self, Order, SCONTROL};

/// `scancel`.
pub async fn scancel(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("scancel: error: not built yet");
    1
}

/// `scontrol`.
pub async fn scontrol(args: Vec<String>, context: Context) -> u8 {
    let mut words = match options::parse(&SCONTROL, &args, Order::Permute) {
        Ok(words) => words,
        Err(refusal) => return refusal.tell(),
    };
    match words.rest.first().map(String::as_str) {
        Some("show") => {
            words.rest.remove(0);
            crate::queue::show(words, &context).await
        }
        _ => {
            eprintln!("scontrol: error: not built yet");
            1
        }
    }
}

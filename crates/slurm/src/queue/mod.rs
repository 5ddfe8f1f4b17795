//! What is in the queue and on the nodes: `squeue`, `sinfo`, `scontrol show`, `sprio`.
use crate::Context;
use crate::options::Words;

/// `squeue`.
pub async fn squeue(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("squeue: error: not built yet");
    1
}

/// `sinfo`.
pub async fn sinfo(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sinfo: error: not built yet");
    1
}

/// `scontrol show …`: `words` are the options and the words, without the word `show` itself.
pub async fn show(_words: Words, _context: &Context) -> u8 {
    eprintln!("scontrol: error: not built yet");
    1
}

/// `sprio`.
pub async fn sprio(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sprio: error: not built yet");
    1
}

//! What is in the queue and on the nodes: `squeue`, `scancel`, `sinfo`, `scontrol`, `sprio`.
use crate::Context;

/// `squeue`.
pub async fn squeue(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("squeue: error: not built yet");
    1
}

/// `scancel`.
pub async fn scancel(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("scancel: error: not built yet");
    1
}

/// `sinfo`.
pub async fn sinfo(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sinfo: error: not built yet");
    1
}

/// `scontrol`.
pub async fn scontrol(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("scontrol: error: not built yet");
    1
}

/// `sprio`.
pub async fn sprio(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sprio: error: not built yet");
    1
}

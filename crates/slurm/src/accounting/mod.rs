//! What was used: `sacct`, `seff`, `sstat`, and views of accounts.
use crate::Context;

/// `sacct`.
pub async fn sacct(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sacct: error: not built yet");
    1
}

/// `sacctmgr`.
pub async fn sacctmgr(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sacctmgr: error: not built yet");
    1
}

/// `sshare`.
pub async fn sshare(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sshare: error: not built yet");
    1
}

/// `sstat`.
pub async fn sstat(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sstat: error: not built yet");
    1
}

/// `seff`.
pub async fn seff(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("seff: error: not built yet");
    1
}

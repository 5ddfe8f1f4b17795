//! Allocations and steps: `srun`, `salloc`, `sattach`.
use crate::Context;

/// `srun`.
pub async fn srun(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("srun: error: not built yet");
    1
}

/// `salloc`.
pub async fn salloc(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("salloc: error: not built yet");
    1
}

/// `sattach`.
pub async fn sattach(_args: Vec<String>, _context: Context) -> u8 {
    eprintln!("sattach: error: not built yet");
    1
}

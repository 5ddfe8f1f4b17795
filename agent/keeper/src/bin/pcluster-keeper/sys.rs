//! The three calls that no safe crate of ours offers. All unsafe code of the project is in this file.
//!
//! Invariant: no pointer outlives its call, and no call touches memory but the one struct it fills.
#![expect(
    unsafe_code,
    reason = "libc calls without a safe wrapper in std or rustix; each is justified where it is made"
)]

use std::ffi::{c_int, c_long, c_uint};

/// `struct rusage` of Linux: two times, then fourteen numbers of which the first is the largest resident size.
#[repr(C)]
#[derive(Default)]
struct RawUsage {
    user: [c_long; 2],
    system: [c_long; 2],
    max_rss_kib: c_long,
    rest: [c_long; 13],
}

unsafe extern "C" {
    fn getrusage(who: c_int, usage: *mut RawUsage) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn syscall(number: c_long, ...) -> c_long;
}

/// CPU time in milliseconds (user, kernel) and the largest resident size in bytes of all children waited for so far,
/// and of theirs.
pub fn children_usage() -> (u64, u64, u64) {
    const RUSAGE_CHILDREN: c_int = -1;
    let mut raw = RawUsage::default();
    // SAFETY: the struct has the kernel's layout and size on 64-bit Linux and lives through the call.
    let failed = unsafe { getrusage(RUSAGE_CHILDREN, &raw mut raw) } != 0;
    debug_assert!(!failed && raw.rest.len() == 13, "getrusage has no reason to fail");
    let millis = |time: [c_long; 2]| u64::try_from(time[0] * 1000 + time[1] / 1000).unwrap_or(0);
    (millis(raw.user), millis(raw.system), u64::try_from(raw.max_rss_kib).unwrap_or(0) * 1024)
}

/// Gives every signal its default action. A job must not inherit that somebody above ignored SIGINT or SIGHUP: a shell
/// could then not even trap them.
pub fn default_signals() {
    const SIG_DFL: usize = 0;
    for number in 1..=64 {
        // SAFETY: setting a default action installs no code; numbers that cannot be set are refused without effect.
        unsafe { signal(number, SIG_DFL) };
    }
}

/// Marks every descriptor from 3 on to be closed by the next `exec`, so that a job gets three and no leaked one.
pub fn close_on_exec_from_3() {
    // The number is the same on every Linux architecture.
    const CLOSE_RANGE: c_long = 436;
    const CLOEXEC: c_uint = 4;
    // SAFETY: the call changes flags of descriptors only; nothing is closed under anybody's feet.
    unsafe { syscall(CLOSE_RANGE, 3 as c_uint, c_uint::MAX, CLOEXEC) };
}

//! Lines on stdout. Invariant: a reader who has seen enough (`| head`) ends the program without a
//! word. Deliberately absent: buffers that would lose the last lines of a world that breaks.
use std::fmt;
use std::io::Write;

/// As a shell shows a program that SIGPIPE has ended.
const READER_GONE: i32 = 141;

/// Prints one line.
pub fn line(words: fmt::Arguments<'_>) {
    if writeln!(std::io::stdout().lock(), "{words}").is_err() {
        std::process::exit(READER_GONE);
    }
}

/// `println!` for a reader who may leave.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::out::line(format_args!($($words)*)) };
}

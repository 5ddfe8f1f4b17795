//! The step daemon as a process of its own, against an agent and a head played by the test.
mod fake;
mod hold;
mod run;
mod usage;

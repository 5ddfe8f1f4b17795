//! Scenarios of the core without a simulator: inputs in, events out.
mod flow;
mod support;

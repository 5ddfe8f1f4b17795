//! Scenarios of the core without a simulator: inputs in, events out.
extern crate std;

mod breaker;
mod fixtures;
mod flow;
mod forget;
mod learned;
mod matrix;
mod offers;
mod reclaim;
mod shares;
mod standing;
mod steps;
mod support;
mod tasks;
mod unlogged;

//! The head node: the only room with a clock, a disk and a network around the pure cluster.
//!
//! `driver` is its loop; everything else brings inputs to it or carries out what it says.
//! Deliberately absent: policy. What is to happen is decided in `pcluster-core`.
pub mod agents;
pub mod app;
mod assemble;
pub mod boot;
pub mod bundles;
pub mod checkup;
pub mod clock;
pub mod disk;
pub mod driver;
pub mod errand;
mod files;
pub mod hands;
pub mod http;
pub mod image;
pub mod inbox;
pub mod limits;
pub mod logfile;
pub mod logs;
pub mod metrics;
pub mod mirror;
pub mod outlet;
pub mod people;
pub mod placing;
mod pruning;
pub mod run;
#[cfg(test)]
mod scratch;
pub mod server;
mod shares;
pub mod trial;

//! Scenarios with the real binaries: each test has clusters of its own and leaves nothing behind.
//!
//! What a machine lacks (another user, Debian's genomics tools, the shared data set) is said as
//! `NOT RUN: …`; with `CI` set it fails instead, where the machine could have been prepared.
#![expect(clippy::unwrap_used, reason = "a test that breaks off says where")]
mod admin;
mod bad_input;
mod connect;
mod crash;
mod disk_errors;
mod docs;
mod doctor;
mod ec2;
mod external;
mod first;
mod flaky;
mod flood;
mod full_disk;
mod genomics;
mod gpus;
mod jobs;
mod knife;
mod leftovers;
mod limits;
mod move_head;
mod names;
mod network;
mod on_nodes;
mod orphans;
mod partition;
mod pause;
mod programs;
mod prune;
mod quickstart;
mod run_command;
mod scratch;
mod screens;
mod shares;
mod shell;
mod slurm_clients;
mod slurm_examples;
mod slurm_genomics;
mod slurm_golden;
mod slurm_mpi;
mod slurm_netns;
mod slurm_scripts;
mod slurm_steps;
mod slurm_submit;
mod storm;
mod two;
mod unlogged;
mod upgrade;
mod users;
mod vm;
mod vm_faults;
mod vm_image;
mod vm_nfs;
mod why;

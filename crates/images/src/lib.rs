//! Images of virtual machines: what they are made from, how they are made, and where they lie.
//!
//! An image is a folder `NAME/BUILD` with a kernel, a boot archive and, unless the whole system fits
//! into the archive, the disk of its root. The agent is no part of it: the programs of the head that
//! launches a machine are put beside the boot archive (`Image::boot_archive`), so that a node never
//! runs an older agent than its head.
//!
//! Invariant: a folder under its final name is whole; what is being made lies in a draft, which the
//! next build removes when its maker is dead. A build is named by what is in it.
//!
//! Deliberately absent: who may boot what, and virtual machines themselves.
mod archive;
mod build;
mod debian;
mod fetch;
mod kernel;
mod modules;
mod programs;
mod recipe;
mod step;
mod store;

pub use build::{Built, build, minimal};
pub use kernel::KernelSource;
pub use programs::{Programs, program_beside};
pub use recipe::Recipe;
pub use step::{ImageError, Progress, Quiet, find_program};
pub use store::{Image, Manifest, Root, Store};

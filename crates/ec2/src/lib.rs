//! EC2's Query API: signed calls, replies as trees, failures in its own words.
//!
//! Invariant: a call is made once, never takes longer than its bound and never reads more than its bound;
//! every action that can be called is in [`Action`], with the permission that it needs. Deliberately absent:
//! what calls are made for, and what is done about a failure (`pcluster_providers::ec2`).
mod action;
mod address;
mod bucket;
mod client;
mod credentials;
mod failure;
mod http;
mod params;
mod xml;

pub use action::{
    Action, CREATE_TAGS, Caller, FIRST_SPOT, PASS_ROLE, PERMISSIONS, Permission, permission_of,
};
pub use address::own_address;
pub use client::{Client, Settings, domain};
pub use failure::Failure;
pub use params::Params;
pub use xml::Element;

//! What `cluster.toml` means, what it costs and what people see when it is wrong.
mod common;
mod defaults;
mod doc_blocks;
mod errors;
mod examples;
mod fuzz;

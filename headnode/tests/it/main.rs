//! The real `pcluster-headnode`, started, asked, killed and started again.
mod head;
mod nodes;
mod process;

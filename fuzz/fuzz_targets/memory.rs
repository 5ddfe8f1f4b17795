//! See `pcluster_slurm::fuzzed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| pcluster_slurm::fuzzed::memory_size(text));

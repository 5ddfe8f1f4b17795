//! Steps: what `srun` and the step daemon of a node say to each other, and the daemon itself.

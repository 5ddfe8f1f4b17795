#!/usr/bin/env python3
"""Parsl counts the reads of four samples in blocks that it gets from Slurm.

    run.py [ADDRESS]      in an empty folder that the nodes can see

ADDRESS is where workers reach this process; without it the name of this machine. Needs parsl, and
the Slurm names in PATH. Ends with 0 when the table is right.
"""

import os
import pathlib
import socket
import sys

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "genomics/lambda-excerpt/samples"


@parsl.python_app
def count(files, sample):
    """How many reads, bases and G or C a sample has. Runs on a worker, so it imports what it needs."""
    import gzip
    import os

    reads = bases = gc = 0
    for file in files:
        with gzip.open(file, "rt") as lines:
            for number, line in enumerate(lines):
                if number % 4 == 1:
                    reads += 1
                    bases += len(line.strip())
                    gc += line.count("G") + line.count("C")
    return (sample, reads, bases, gc), os.environ["SLURM_JOB_ID"]


def configuration(address):
    provider = SlurmProvider(
        # A block is one job of one node; none without work, two at most.
        nodes_per_block=1,
        init_blocks=0,
        min_blocks=0,
        max_blocks=2,
        cores_per_node=2,
        mem_per_node=1,
        # Parsl asks for whole nodes unless told otherwise.
        exclusive=False,
        walltime="00:10:00",
        launcher=SrunLauncher(),
        # The worker's program must be found on the node: here the environment lies on shared storage.
        worker_init=f"export PATH={pathlib.Path(sys.executable).parent}:$PATH",
    )
    executor = HighThroughputExecutor(
        label="slurm", provider=provider, max_workers_per_node=2, address=address, encrypted=False
    )
    # A block without work for ten seconds is given back.
    return Config(executors=[executor], strategy="simple", max_idletime=10)


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else socket.gethostname()
    parsl.load(configuration(address))
    names = sorted(file.name.removesuffix("_1.fastq.gz") for file in SAMPLES.glob("*_1.fastq.gz"))
    files = [[str(SAMPLES / f"{name}_{mate}.fastq.gz") for mate in (1, 2)] for name in names]
    results = [future.result() for future in [count(*work) for work in zip(files, names)]]
    parsl.dfk().cleanup()

    assert all(job.isdigit() for _, job in results), results
    rows = [("sample", "reads", "bases", "gc"), *(row for row, _ in results)]
    table = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    pathlib.Path("reads.tsv").write_text(table)
    assert table == (HERE.parent / "expected.tsv").read_text(), table
    print("parsl: the table is right")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Dask counts the reads of four samples on workers that dask-jobqueue submits as jobs.

    run.py [ADDRESS]      in an empty folder that the nodes can see

ADDRESS is where workers reach this process; without it the name that dask finds. Needs
dask-jobqueue, and the Slurm names in PATH. Ends with 0 when the table is right.
"""

import gzip
import os
import pathlib
import subprocess
import sys
import time

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "genomics/lambda-excerpt/samples"


def count(files, sample):
    """How many reads, bases and G or C a sample has. Runs on a worker."""
    reads = bases = gc = 0
    for file in files:
        with gzip.open(file, "rt") as lines:
            for number, line in enumerate(lines):
                if number % 4 == 1:
                    reads += 1
                    bases += len(line.strip())
                    gc += line.count("G") + line.count("C")
    assert "SLURM_JOB_ID" in os.environ, "this should be a worker in a job"
    return sample, reads, bases, gc


def in_queue():
    asked = ["squeue", "--me", "--noheader", "--name", "dask-reads", "--format", "%i"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else None
    cluster = SLURMCluster(
        # One job is one worker of two threads.
        cores=2,
        processes=1,
        memory="600MB",
        # The limit of a job. Workers should leave before it: see --lifetime in the how-to.
        walltime="00:10:00",
        job_name="dask-reads",
        log_directory="logs",
        # Scratch on the node; the job's own folder there is removed with it.
        local_directory="$TMPDIR",
        scheduler_options={"host": address, "dashboard_address": None},
        worker_extra_args=["--no-dashboard"],
    )
    # From zero workers to two and back, as there is work.
    cluster.adapt(minimum_jobs=0, maximum_jobs=2)
    client = Client(cluster)
    names = sorted(file.name.removesuffix("_1.fastq.gz") for file in SAMPLES.glob("*_1.fastq.gz"))
    files = [[str(SAMPLES / f"{name}_{mate}.fastq.gz") for mate in (1, 2)] for name in names]
    rows = client.gather(client.map(count, files, names))
    client.close()
    cluster.close()

    table = "".join("\t".join(map(str, row)) + "\n" for row in [("sample", "reads", "bases", "gc"), *rows])
    pathlib.Path("reads.tsv").write_text(table)
    assert table == (HERE.parent / "expected.tsv").read_text(), table
    # Closing the cluster cancels its jobs; nodes without a job then go by themselves.
    end = time.monotonic() + 120
    while in_queue() and time.monotonic() < end:
        time.sleep(0.5)
    assert not in_queue(), f"workers are left: {in_queue()}"
    print("dask: the table is right")


if __name__ == "__main__":
    main()

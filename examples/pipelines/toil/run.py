#!/usr/bin/env python3
"""Toil counts the reads of four samples, each in a job of Slurm, and a last job makes the table.

    run.py      in an empty folder that the nodes can see

Needs toil, and the Slurm names in PATH. Ends with 0 when the table is right.
"""

import gzip
import os
import pathlib

from toil.common import Toil
from toil.job import Job

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "genomics/lambda-excerpt/samples"
# What each job asks for. What a job does not say, Toil sets: 1 CPU, 2 GB and 2 GB of disk.
SMALL = {"cores": 1, "memory": "300M", "disk": "50M"}


def count(job, sample):
    """How many reads, bases and G or C a sample has. Runs in a job."""
    reads = bases = gc = 0
    for mate in (1, 2):
        with gzip.open(SAMPLES / f"{sample}_{mate}.fastq.gz", "rt") as lines:
            for number, line in enumerate(lines):
                if number % 4 == 1:
                    reads += 1
                    bases += len(line.strip())
                    gc += line.count("G") + line.count("C")
    return (sample, reads, bases, gc), os.environ["SLURM_JOB_ID"]


def table(job, results):
    rows = [("sample", "reads", "bases", "gc"), *(row for row, _ in results)]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows), {job for _, job in results}


def start(job, names):
    counts = [job.addChildJobFn(count, name, **SMALL).rv() for name in names]
    return job.addFollowOnJobFn(table, counts, **SMALL).rv()


def main():
    here = pathlib.Path.cwd()
    options = Job.Runner.getDefaultOptions(f"file:{here}/store")
    options.batchSystem = "slurm"
    # Output of the jobs themselves: a folder that every node sees. Scratch stays on the node.
    options.batch_logs_dir = str(here / "logs")
    os.mkdir(options.batch_logs_dir)
    # A time limit in seconds (--slurmTime 0:10:00), which a cluster with a budget needs.
    options.slurm_time = 600
    options.statePollingWait = 2
    options.clean = "always"
    names = sorted(file.name.removesuffix("_1.fastq.gz") for file in SAMPLES.glob("*_1.fastq.gz"))
    with Toil(options) as toil:
        text, jobs = toil.start(Job.wrapJobFn(start, names, **SMALL))
    pathlib.Path("reads.tsv").write_text(text)
    assert text == (HERE.parent / "expected.tsv").read_text(), text
    assert len(jobs) == len(names), f"every sample has a job of its own: {jobs}"
    print("toil: the table is right")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""submitit counts the reads of four samples as one array of jobs.

    run.py      in an empty folder that the nodes can see

Needs submitit, and the Slurm names in PATH. Ends with 0 when the table is right.
"""

import gzip
import pathlib

import submitit

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "genomics/lambda-excerpt/samples"


def count(sample):
    """How many reads, bases and G or C a sample has. Runs in a job."""
    reads = bases = gc = 0
    for mate in (1, 2):
        with gzip.open(SAMPLES / f"{sample}_{mate}.fastq.gz", "rt") as file:
            for number, line in enumerate(file):
                if number % 4 == 1:
                    reads += 1
                    bases += len(line.strip())
                    gc += line.count("G") + line.count("C")
    return sample, reads, bases, gc


def main():
    names = sorted(file.name.removesuffix("_1.fastq.gz") for file in SAMPLES.glob("*_1.fastq.gz"))
    executor = submitit.AutoExecutor(folder="jobs/%j", cluster="slurm")
    # timeout_min is the time limit; slurm_array_parallelism is what may run at once.
    executor.update_parameters(
        name="count", timeout_min=5, cpus_per_task=1, slurm_mem="300MB", slurm_array_parallelism=4
    )
    jobs = executor.map_array(count, names)
    rows = [("sample", "reads", "bases", "gc"), *(job.result() for job in jobs)]
    table = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    pathlib.Path("reads.tsv").write_text(table)
    assert table == (HERE.parent / "expected.tsv").read_text(), table
    print("submitit: the table is right")


if __name__ == "__main__":
    main()

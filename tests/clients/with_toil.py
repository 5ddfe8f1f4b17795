"""Toil: jobs with results that feed others, one that needs several tries, memory and CPUs of each."""

import os
import sys

from toil.common import Toil
from toil.job import Job


def square(job, number):
    return number * number, os.environ["SLURM_JOB_ID"]


def unsteady(job, folder):
    """Ends its process at the first try; Toil submits it again."""
    mark = os.path.join(folder, "tried")
    if not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(9)
    return os.environ["SLURM_JOB_ID"]


def total(job, parts, steady):
    return sum(part[0] for part in parts), sorted({part[1] for part in parts}), steady


def start(job, folder):
    small = {"memory": "200M", "disk": "10M"}
    parts = [job.addChildJobFn(square, n, cores=1, **small).rv() for n in range(1, 5)]
    steady = job.addChildJobFn(unsteady, folder, cores=1, **small).rv()
    return job.addFollowOnJobFn(total, parts, steady, cores=1, **small).rv()


def main():
    here = os.getcwd()
    options = Job.Runner.getDefaultOptions("file:" + os.path.join(here, "store"))
    options.batchSystem = "slurm"
    options.retryCount = 2
    options.statePollingWait = 1
    options.workDir = os.path.join(here, "scratch")
    options.coordinationDir = options.workDir
    options.clean = "always"
    options.disableCaching = True
    options.logLevel = "INFO"
    os.mkdir(options.workDir)
    with Toil(options) as toil:
        result = toil.start(Job.wrapJobFn(start, here, cores=1, memory="200M", disk="10M"))
    assert result[0] == 1 + 4 + 9 + 16, result
    # Toil may chain a job into the one before; parallel ones have jobs of their own.
    assert len(result[1]) == 4, result
    assert result[2].isdigit(), result
    print("toil: all right")


if __name__ == "__main__":
    sys.exit(main())

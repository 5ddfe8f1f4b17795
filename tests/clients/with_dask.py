"""dask-jobqueue: workers come as jobs, compute, grow on demand and are taken away again."""

import os
import subprocess
import time

from dask.distributed import Client
from dask_jobqueue import SLURMCluster


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.2)
    raise SystemExit("FAILED: " + what.__doc__)


def where(number):
    time.sleep(0.2)
    return number * 3, os.environ["SLURM_JOB_ID"], os.environ["SLURM_CPUS_PER_TASK"]


def in_queue():
    said = subprocess.run(
        ["squeue", "--me", "--noheader", "--name", "own-dask", "-o", "%i"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()


cluster = SLURMCluster(
    queue="main",
    cores=2,
    processes=1,
    memory="600MB",
    walltime="00:06:00",
    job_name="own-dask",
    # The nodes of a test and this process share one machine, whose other names may lead nowhere.
    scheduler_options={"host": "127.0.0.1", "dashboard_address": None},
    worker_extra_args=["--no-dashboard"],
    local_directory=os.environ.get("TMPDIR", "/tmp"),
    log_directory="logs",
    job_extra_directives=["--comment=of-a-test"],
)
client = Client(cluster)
cluster.scale(jobs=2)
client.wait_for_workers(2, timeout=120)
assert len(in_queue()) == 2, in_queue()
results = client.gather(client.map(where, range(20)))
assert [r[0] for r in results] == [n * 3 for n in range(20)], results
assert {r[1] for r in results} == set(in_queue()), (results, in_queue())
assert {r[2] for r in results} == {"2"}, results

cluster.scale(jobs=1)


def one_left():
    """scaling down has not ended one of two jobs"""
    return len(in_queue()) == 1


wait_for(one_left)
assert client.submit(where, 5).result(timeout=60)[0] == 15
client.close()
cluster.close()


def none_left():
    """closing the cluster has not ended its jobs"""
    return not in_queue()


wait_for(none_left)
print("dask: all right")

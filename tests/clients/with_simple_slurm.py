"""simple-slurm: scripts on stdin, an array, a dependency, the queue as a table, srun."""

import datetime
import pathlib
import subprocess
import time

from simple_slurm import Slurm


def wait_for(what, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.2)
    raise SystemExit("FAILED: " + what.__doc__)


array = Slurm(
    array="2-6:2",
    cpus_per_task=1,
    job_name="own-array",
    mem="100M",
    output=f"part_{Slurm.JOB_ARRAY_MASTER_ID}_{Slurm.JOB_ARRAY_ID}.txt",
    time=datetime.timedelta(minutes=4, seconds=30),
)
first = array.sbatch(f"echo number {Slurm.SLURM_ARRAY_TASK_ID} of {Slurm.SLURM_ARRAY_JOB_ID}")
after = Slurm(dependency=dict(afterok=first), job_name="own-after", output="after.txt", mem="100M")
second = after.sbatch(f"cat part_{first}_*.txt | sort; echo end")
assert second > first, (first, second)


def done():
    """the job that waits for the array has not written its output"""
    out = pathlib.Path("after.txt")
    return out.exists() and out.read_text().endswith("end\n")


wait_for(done)
# Its own reader of the queue knows plain ids only: no array may wait now.
later = Slurm("-J", "own-held", "-o", "/dev/null", "--mem", "100M", begin="now+1hour")
held = later.sbatch("sleep 200")
held_queue = later.squeue
held_queue.update_squeue()
rows = {int(key): row for key, row in held_queue.jobs.items()}
assert rows[held]["NAME"] == "own-held" and rows[held]["ST"] == "PD", rows
later.scancel.cancel_job(held)

expected = "".join(f"number {n} of {first}\n" for n in (2, 4, 6)) + "end\n"
assert pathlib.Path("after.txt").read_text() == expected, pathlib.Path("after.txt").read_text()


def gone():
    """the cancelled job is still in the queue"""
    held_queue.update_squeue()
    return str(held) not in {str(key) for key in held_queue.jobs}


wait_for(gone)
assert Slurm(job_name="own-srun", ntasks=2, mem="100M").srun("true") == 0
try:
    Slurm(job_name="own-srun", ntasks=1, mem="100M").srun("sh -c 'exit 3'")
    raise SystemExit("FAILED: a command that ends with 3 is a success")
except subprocess.CalledProcessError as error:
    assert error.returncode == 3, error
print("simple-slurm: all right")

"""submitit as its users write it: results, an array, an exception, ranks over two nodes, a checkpoint, cancelling."""

import os
import time

import submitit


class Counts(submitit.helpers.Checkpointable):
    """Counts seconds; taken off the node, it goes on where it was."""

    def __init__(self):
        self.rounds = 0

    def __call__(self, began):
        self.rounds += 1
        with open(began, "a") as file:
            file.write(f"{self.rounds} {os.environ['SLURM_JOB_ID']}\n")
        if self.rounds == 1:
            time.sleep(240)
        return self.rounds


def product(left, right):
    return left * right


def cannot():
    raise KeyError("no such tree")


def place():
    here = submitit.JobEnvironment()
    return here.global_rank, here.local_rank, here.node, here.num_nodes, here.num_tasks, here.hostname


def wait_for(what, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"FAILED: {what.__name__} has not come")


def executor(**more):
    made = submitit.AutoExecutor(folder="jobs/%j", cluster="slurm")
    made.update_parameters(timeout_min=6, slurm_mem="256MB", name="own-submitit", **more)
    return made


one = executor(cpus_per_task=2)
job = one.submit(product, 6, 7)
assert job.result() == 42, job.result()
assert job.job_id.isdigit(), job.job_id

with one.batch():
    jobs = [one.submit(product, n, n) for n in range(4)]
assert [job.result() for job in jobs] == [0, 1, 4, 9]
assert len({job.job_id.split("_")[0] for job in jobs}) == 1 and all("_" in job.job_id for job in jobs), jobs

bad = one.submit(cannot)
assert "no such tree" in str(bad.exception()), bad.exception()

places = executor(nodes=2, tasks_per_node=2).submit(place).results()
assert sorted(p[0] for p in places) == [0, 1, 2, 3], places
assert sorted(p[2] for p in places) == [0, 0, 1, 1], places
assert sorted(p[1] for p in places) == [0, 0, 1, 1], places
assert {p[3:5] for p in places} == {(2, 4)}, places

began = os.path.abspath("began")
job = executor().submit(Counts(), began)
wait_for(lambda: os.path.exists(began))
job._interrupt(timeout=True)
assert job.result() == 2, job.result()
rounds = open(began).read().split("\n")[:-1]
assert rounds == [f"1 {job.job_id}", f"2 {job.job_id}"], rounds

job = executor().submit(time.sleep, 240)
job.cancel()


def cancelled():
    job.watcher.update()
    return job.state.startswith("CANCELLED")


wait_for(cancelled)
print("submitit: all right")

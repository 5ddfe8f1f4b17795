"""PSI/J: exit codes, output, the node file, cancelling a job that runs, four ranks by srun."""

import pathlib
from datetime import timedelta

from psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, ResourceSpecV1

HERE = pathlib.Path.cwd()
executor = JobExecutor.get_instance("slurm")
executor.config.queue_polling_interval = 2


def submit(name, text, resources=None, launcher="single"):
    spec = JobSpec(
        executable="/bin/sh",
        arguments=["-c", text],
        directory=HERE,
        environment={"TREE": "oak"},
        stdout_path=HERE / f"{name}.txt",
        stderr_path=HERE / f"{name}.err",
        resources=resources,
        launcher=launcher,
        attributes=JobAttributes(duration=timedelta(minutes=4, seconds=10)),
    )
    spec.attributes.set_custom_attribute("slurm.job-name", f"own-{name}")
    spec.attributes.set_custom_attribute("slurm.comment", "of a test")
    job = Job(spec)
    executor.submit(job)
    return job


def end_of(job):
    status = job.wait(timedelta(seconds=120))
    assert status is not None, f"job {job.native_id} has not ended: {job.status}"
    return status


good = submit("good", "echo $TREE; wc -l <$PSIJ_NODEFILE", ResourceSpecV1(process_count=3, cpu_cores_per_process=1))
bad = submit("bad", "echo broken >&2; exit 11")
status = end_of(good)
assert (status.state, status.exit_code) == (JobState.COMPLETED, 0), status
# The launcher `single` runs one process; the node file has a line for each that was asked for.
assert (HERE / "good.txt").read_text().split() == ["oak", "3"], (HERE / "good.txt").read_text()
status = end_of(bad)
assert (status.state, status.exit_code) == (JobState.FAILED, 11), status
assert (HERE / "bad.err").read_text() == "broken\n"

long = submit("long", "sleep 240")
long.wait(timedelta(seconds=120), target_states=[JobState.ACTIVE])
assert long.status.state == JobState.ACTIVE, long.status
assert str(long.native_id) in executor.list(), executor.list()
long.cancel()
assert end_of(long).state == JobState.CANCELED, long.status

ranks = submit(
    "ranks",
    "echo rank $SLURM_PROCID of $SLURM_NTASKS on node $SLURM_NODEID",
    ResourceSpecV1(node_count=2, processes_per_node=2),
    launcher="srun",
)
assert end_of(ranks).state == JobState.COMPLETED, ranks.status
lines = sorted((HERE / "ranks.txt").read_text().splitlines())
assert lines == [f"rank {n} of 4 on node {n // 2}" for n in range(4)], lines
print("psij: all right")

"""Parsl: blocks of two nodes whose workers srun starts, and blocks of one node without it."""

import os
import sys
import time

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SingleNodeLauncher, SrunLauncher
from parsl.providers import SlurmProvider

# Jobs get the environment of this process, but their worker_init may not rely on it.
ACTIVATE = f"export PATH={os.path.dirname(sys.executable)}:$PATH"


@parsl.python_app
def cube(number):
    import os
    import time

    time.sleep(0.3)
    return number**3, os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_PROCID"), os.environ["SLURMD_NODENAME"]


@parsl.bash_app
def tell(stdout=None, stderr=None):
    return "echo $SLURM_NNODES nodes, block $SLURM_JOB_NAME; echo talk >&2"


@parsl.python_app
def divide(number):
    return number / 0


def provider(launcher, nodes, **more):
    return SlurmProvider(
        launcher=launcher,
        nodes_per_block=nodes,
        init_blocks=1,
        min_blocks=0,
        max_blocks=1,
        cores_per_node=2,
        mem_per_node=1,
        walltime="00:06:00",
        worker_init=ACTIVATE,
        exclusive=False,
        **more,
    )


wide = HighThroughputExecutor(
    label="wide",
    address="127.0.0.1",
    max_workers_per_node=1,
    provider=provider(SrunLauncher(), 2, partition="main"),
)
narrow = HighThroughputExecutor(
    label="narrow", address="127.0.0.1", max_workers_per_node=1, provider=provider(SingleNodeLauncher(), 1)
)
with parsl.load(Config(executors=[wide, narrow], strategy="simple", exit_mode="cleanup")):
    cube_wide = parsl.python_app(cube.func, executors=["wide"])
    # Workers of one node may come seconds before the other's: work until both have some.
    places, end = set(), time.monotonic() + 120
    while len(places) < 2 and time.monotonic() < end:
        results = [future.result(timeout=180) for future in [cube_wide(n) for n in range(8)]]
        assert [r[0] for r in results] == [n**3 for n in range(8)], results
        assert len({r[1] for r in results}) == 1, results
        places |= {r[2:] for r in results}
    assert {place[0] for place in places} == {"0", "1"}, places
    assert len({place[1] for place in places}) == 2, places
    tell_narrow = parsl.bash_app(tell.func, executors=["narrow"])
    assert tell_narrow(stdout="tell.out", stderr="tell.err").result(timeout=180) == 0
    said = open("tell.out").read()
    assert said.startswith("1 nodes, block parsl.narrow.block-0"), said
    assert open("tell.err").read().endswith("talk\n")
    try:
        divide(1).result(timeout=180)
        raise SystemExit("FAILED: a division by zero gave a result")
    except ZeroDivisionError:
        pass
print("parsl: all right")

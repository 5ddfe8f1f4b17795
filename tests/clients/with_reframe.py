"""ReFrame: checks run as jobs of Slurm, by both of its Slurm schedulers, with one check that must fail."""

import json
import os
import subprocess

SETTINGS = """
site_configuration = {
    "systems": [{
        "name": "own",
        "hostnames": [".*"],
        "modules_system": "nomod",
        "partitions": [
            {"name": "books", "scheduler": "slurm", "launcher": "srun", "environs": ["plain"], "max_jobs": 4},
            {"name": "queue", "scheduler": "squeue", "launcher": "srun", "environs": ["plain"], "max_jobs": 4},
        ],
    }],
    "environments": [{"name": "plain", "cc": "cc"}],
    "general": [{"resolve_module_conflicts": False, "git_timeout": 1, "report_junit": None}],
}
"""
CHECKS = """
import reframe as rfm
import reframe.utility.sanity as sn


class Own(rfm.RunOnlyRegressionTest):
    valid_systems = ["own:books", "own:queue"]
    valid_prog_environs = ["plain"]
    time_limit = "4m"


@rfm.simple_test
class ranks(Own):
    executable = "sh"
    executable_opts = ["-c", "'echo rank $SLURM_PROCID of $SLURM_NTASKS on node $SLURM_NODEID'"]
    num_tasks = 4
    num_tasks_per_node = 2

    @sanity_function
    def all_came(self):
        found = sn.sorted(sn.extractall(r"rank (\\d of 4 on node \\d)", self.stdout, 1))
        return sn.assert_eq(found, [f"{rank} of 4 on node {rank // 2}" for rank in range(4)])


@rfm.simple_test
class whole(Own):
    executable = "echo"
    executable_opts = ["cpus", "$SLURM_CPUS_PER_TASK"]
    num_cpus_per_task = 2
    exclusive_access = True

    @sanity_function
    def cpus(self):
        return sn.assert_found(r"^cpus 2$", self.stdout)


@rfm.simple_test
class wrong(Own):
    executable = "false"

    @sanity_function
    def ended_well(self):
        return sn.assert_eq(self.job.exitcode, 0)
"""

with open("settings.py", "w") as file:
    file.write(SETTINGS)
with open("checks.py", "w") as file:
    file.write(CHECKS)
said = subprocess.run(
    ["reframe", "-C", "settings.py", "-c", "checks.py", "--prefix", "rfm", "--report-file", "report.json", "-r"],
    capture_output=True,
    text=True,
)
report = json.load(open("report.json"))
cases = [case for run in report["runs"] for case in run["testcases"]]
results = {(case["name"].split(" ")[0], case["partition"]): case for case in cases}
words = {key: case["result"] for key, case in results.items()}
expected = {(n, p): "fail" if n == "wrong" else "pass" for n in ("ranks", "whole", "wrong") for p in ("books", "queue")}
assert words == expected, (words, said.stdout, said.stderr)
assert said.returncode != 0, said.stdout
by_books = results["ranks", "books"]
assert by_books["job_nodelist"], by_books["job_nodelist"]
assert by_books["job_exitcode"] == 0, by_books["job_exitcode"]
print("reframe: all right")

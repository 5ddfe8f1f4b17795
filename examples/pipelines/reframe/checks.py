"""Checks of a cluster: are the reads counted right on a node, do four tasks start on two nodes."""

import os

import reframe as rfm
import reframe.utility.sanity as sn

EXAMPLES = os.environ["PIPELINES"]
SAMPLES = os.path.join(EXAMPLES, "../genomics/lambda-excerpt/samples")


def expected(sample):
    with open(os.path.join(EXAMPLES, "expected.tsv")) as table:
        return next(line.split()[1:] for line in table if line.startswith(sample + "\t"))


@rfm.simple_test
class reads(rfm.RunOnlyRegressionTest):
    sample = parameter(["sample1", "sample2", "sample3", "sample4"])
    valid_systems = ["pcluster:compute"]
    valid_prog_environs = ["plain"]
    executable = os.path.join(EXAMPLES, "count-reads")
    time_limit = "5m"
    num_tasks = 1
    num_cpus_per_task = 1

    @run_before("run")
    def files(self):
        self.executable_opts = [f"{SAMPLES}/{self.sample}_{mate}.fastq.gz" for mate in (1, 2)]

    @sanity_function
    def right(self):
        found = sn.extractsingle(r"^(\d+\t\d+\t\d+)$", self.stdout, 1)
        return sn.assert_eq(found, "\t".join(expected(self.sample)))


@rfm.simple_test
class tasks(rfm.RunOnlyRegressionTest):
    valid_systems = ["pcluster:compute"]
    valid_prog_environs = ["plain"]
    executable = "sh"
    executable_opts = ["-c", "'echo task $SLURM_PROCID on node $SLURM_NODEID'"]
    time_limit = "5m"
    num_tasks = 4
    num_tasks_per_node = 2

    @sanity_function
    def two_on_each(self):
        found = sn.sorted(sn.extractall(r"^task (\d) on node (\d)$", self.stdout, (1, 2)))
        return sn.assert_eq(found, [("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")])

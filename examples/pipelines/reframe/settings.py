# ReFrame's settings for a cluster of pcluster: reframe -C settings.py ...
site_configuration = {
    "systems": [
        {
            "name": "pcluster",
            "hostnames": [".*"],
            "modules_system": "nomod",
            "partitions": [
                {
                    # A pool: `access` is how jobs get there, e.g. ["--partition=compute"].
                    "name": "compute",
                    "scheduler": "slurm",
                    "launcher": "srun",
                    "access": [],
                    "environs": ["plain"],
                    "max_jobs": 8,
                },
            ],
        },
    ],
    "environments": [{"name": "plain"}],
}

"""wandb-export 1.0 from PyPI, which is made on the official `wandb.Api()`: a CSV file a run.

Through its Python API: its command profiles itself as it runs.
"""

from __future__ import annotations

import logging
import os
import sys

from benchmarks.contenders.clock import Job, Outcome, leave, measured
from benchmarks.origin.project import ENTITY, NAME

# Its configuration as its README has it; the wheel comes without. It takes a sample of the rows,
# and 10,000 are more than any run of these scenes has.
_CONFIG = """
entity: {entity}
project: {project}
filters: {{}}
samples: 10000
min_n_metrics: 0
data_types: {{scalar: true, histogram: false, image_url: true, config: true, metadata: true}}
export_dir: {folder}
hydra: {{run: {{dir: .}}, output_subdir: null}}
"""

# It reads its configuration from the working directory, which it notes when it is imported.
_configs = os.path.join(os.getcwd(), "configs_wandb_export")
os.makedirs(_configs, exist_ok=True)
from wandb_export.export import export_wandb_data  # noqa: E402


def export(job: Job) -> Outcome:
    text = _CONFIG.format(entity=ENTITY, project=NAME, folder=job.folder)
    with open(os.path.join(_configs, "config_default.yaml"), "w") as file:
        file.write(text)
    logging.disable(logging.INFO)
    sys.argv = ["wandb-export"]
    export_wandb_data()
    rows = 0
    for path in job.folder.glob("*/scalars.csv"):
        with path.open("rb") as file:
            rows += sum(1 for _ in file) - 1
    return Outcome(rows)


if __name__ == "__main__":
    measured(export)
    leave()

"""The runs of a project in one CSV file: by hand, as W&B's guide does it, and in one call.

python examples/runs_to_csv.py entity/project project.csv flat.csv
"""

import sys

import pandas as pd

from aiowandb import Api

project, by_hand, flat = sys.argv[1:]
with Api() as api:
    runs = api.runs(project)

    summary_list, config_list, name_list = [], [], []
    for run in runs:
        summary_list.append(run.summary._json_dict)
        config_list.append({k: v for k, v in run.config.items() if not k.startswith("_")})
        name_list.append(run.name)
    frame = pd.DataFrame({"summary": summary_list, "config": config_list, "name": name_list})
    frame.to_csv(by_hand)

    # One column a value, `config.model.depth` or `summary.val.acc`.
    table = runs.to_pandas()
    table.to_csv(flat, index=False)
    print(len(frame), "runs,", len(table.columns), "columns")

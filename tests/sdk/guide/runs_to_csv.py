"""The runs of a project as one table in a CSV file."""

from pathlib import Path

import pandas as pd
import wandb

api = wandb.Api()
entity, project = "local", "vision"
runs = api.runs(entity + "/" + project, order="+created_at")

summary_list, config_list, name_list = [], [], []
for run in runs:
    summary_list.append(run.summary._json_dict)
    config_list.append({k: v for k, v in run.config.items() if not k.startswith("_")})
    name_list.append(run.name)

runs_df = pd.DataFrame({"summary": summary_list, "config": config_list, "name": name_list})
runs_df.to_csv("project.csv")
print(Path("project.csv").read_text())

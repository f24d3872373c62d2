"""What two runs were configured with, side by side where they differ."""

import pandas as pd
import wandb

api = wandb.Api()
run1 = api.run("local/vision/adam")
run2 = api.run("local/vision/runs/sgd")

df = pd.DataFrame([run1.config, run2.config]).transpose()
df.columns = [run1.name, run2.name]
print(df[df[run1.name] != df[run2.name]])

"""Samples of the histories of several runs in one table."""

import wandb

api = wandb.Api()
runs = api.runs("local/vision", {"state": "finished"}, order="+created_at")

rows = runs.histories(samples=3, keys=["loss"])
print(rows)
frame = runs.histories(samples=5, keys=["loss", "accuracy"], format="pandas")
print(frame.to_csv(index=False))
print(runs.histories(samples=2, format="pandas").columns.tolist())
print(runs.histories(samples=4, keys=["accuracy"], format="polars"))
print(len(runs.histories(samples=2, stream="system")))

"""Metrics of a run: sampled, unsampled, some keys, some steps, and those of its machine."""

import wandb

api = wandb.Api()
run = api.run("local/vision/adam")

metrics = run.history(keys=["accuracy", "loss"])
print(metrics.to_csv(index=False))
print(run.history(samples=5, keys=["loss"], pandas=False))
print(run.history(samples=7, keys=["loss"], x_axis="_timestamp", pandas=False))
print(len(run.history(samples=10)), sorted(run.history().columns))

history = run.scan_history()
losses = [row["loss"] for row in history]
print(losses)
print([row["loss"] for row in run.scan_history(keys=["loss", "accuracy"], page_size=20)])
print([row["_step"] for row in run.scan_history(min_step=3, max_step=20)])
first = next(run.scan_history(keys=["loss"]))
print(first["loss"])

system_metrics = run.history(stream="events")
print(sorted(system_metrics.columns), system_metrics["system.cpu"].tolist())

"""The best run of a sweep, by hand and as the sweep sees it, and its model."""

from pathlib import Path

import wandb

api = wandb.Api()
sweep_id = next(iter(api.project("vision", "local").sweeps())).id
sweep = api.sweep(f"local/vision/{sweep_id}")
runs = sorted(sweep.runs, key=lambda run: run.summary.get("val_acc", 0), reverse=True)
val_acc = runs[0].summary.get("val_acc", 0)
print(f"Best run {runs[0].name} with {val_acc}% validation accuracy")
runs[0].file("model-best.h5").download(root="best", replace=True)
print(Path("best/model-best.h5").read_text())

print(sweep.id, sweep.name, sweep.state, sweep.config, sweep.order, sweep.url, sweep.path)
print(sweep.best_run().id, len(sweep.runs), [run.sweep_name for run in sweep.runs])
print(api.run("local/vision/adam").sweep.id, api.run("local/vision/other").sweep)

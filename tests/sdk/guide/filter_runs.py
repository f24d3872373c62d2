"""Runs found by config, summary, tags, name, state and date, in an order, some at a time."""

import wandb

api = wandb.Api()
path = "local/vision"

for filters in (
    {"config.experiment_name": "foo"},
    {"$or": [{"config.experiment_name": "foo"}, {"config.experiment_name": "bar"}]},
    {"config.experiment_name": {"$regex": "b.*"}},
    {"$and": [{"config.lr": {"$gte": 0.01}}, {"state": "finished"}]},
    {"config.net.depth": {"$in": [2, 3]}},
    {"summary_metrics.val_acc": {"$gt": 0.7}},
    {"summary_metrics.loss": {"$lt": 0.1}},
    {"tags": "baseline"},
    {"tags": {"$in": ["baseline", "best"]}},
    {"tags": {"$nin": ["baseline"]}},
    {"display_name": {"$regex": "^ada.*"}},
    {"state": {"$ne": "finished"}},
    {"group": "search", "jobType": "train"},
    {"created_at": {"$gt": "2024-01-01T00:00:00", "$lt": "2024-01-02T12:00:00"}},
    {"username": "local"},
):
    runs = api.runs(path, filters=filters, order="+created_at")
    print(filters, len(runs), [run.name for run in runs])

for order in ("+created_at", "-created_at", "+summary_metrics.val_acc", "-summary_metrics.val_acc"):
    print(order, [run.id for run in api.runs(path=path, order=order)])
print([run.id for run in api.runs(path, {"state": "finished"}, "-config.lr.value")])

runs = api.runs(path, order="+created_at", per_page=2)
print(len(runs), runs[0].name, runs[2].id, [run.state for run in runs[1:3]])
for run in runs:
    print(run.name, run.id, run.state, run.commit, run.config["lr"], run.summary["val_acc"])
print([run.id for run in runs])

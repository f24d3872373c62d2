"""What a run is: its attributes, config and summary."""

import wandb

api = wandb.Api()
run = api.run("local/vision/adam")

print(run.id, run.name, run.state, run.path, run.entity, run.project, run.url)
print(run.tags, run.notes, run.group, run.job_type, run.commit)
print(run.user.username, run.username, run.lastHistoryStep, run.storage_id)
print(run.config, run.config["net"]["depth"], sorted(run.rawconfig))
print(run.summary["val_acc"], run.summary.get("not_there", 0), "loss" in run.summary)
print(sorted(run.summary.keys()), run.summary["val"]["loss"])
print(run.summary._json_dict, dict(run.summary_metrics))
print(run.system_metrics, run.metadata["git"], run.metadata["program"])

if run.state == "finished":
    for _, row in run.history().iterrows():
        print(row["_timestamp"], row["accuracy"])

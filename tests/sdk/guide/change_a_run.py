"""Config, summary, tags, name and notes of a run that has ended, changed."""

import wandb

api = wandb.Api()
run = api.run("local/past/done")

run.config["lr"] = 0.5
run.config["added"] = {"deep": [1, 2]}
run.update()

run.summary["accuracy"] = 0.9
run.summary.update()
run.summary.update({"checked": True})

run.summary["new_name"] = run.summary["val_acc"]
del run.summary["val_acc"]
run.summary.update()

run.tags.append("published")
run.name = "done twice"
run.notes = "Looked at again."
run.group = "later"
run.update()

api.flush()
run = wandb.Api().run("local/past/done")
print(run.config, run.rawconfig["_wandb"])
print(run.summary._json_dict)
print(run.tags, run.name, run.notes, run.group, run.state, run.description)

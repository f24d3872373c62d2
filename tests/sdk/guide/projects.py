"""Who I am, what projects there are, a new one, and runs that no script has made."""

import wandb

api = wandb.Api(timeout=29)
print(api.viewer.username, api.viewer.entity, api.viewer.email, api.default_entity)
print([project.name for project in api.projects("local")])
project = api.project("vision", entity="local")
print(project.name, project.entity, project.path, project.url, project.id)
print([sweep.id for sweep in project.sweeps()])

api.create_project("made", "local")
print(sorted(project.name for project in wandb.Api().projects("local")))
run = api.create_run(run_id="by-hand", project="made", entity="local")
print(run.id, run.path, run.state, run.config, run.lastHistoryStep)

run = wandb.Api().run("local/made/by-hand")
run.name = "named"
run.config["a"] = 1
run.update()
print([(run.name, run.config) for run in wandb.Api().runs("local/made")])
run.delete()
print(len(wandb.Api().runs("local/made")))

"""Artifacts: of a run, by name, into a folder."""

import os

import wandb

api = wandb.Api()
run = api.run("local/vision/adam")

for artifact in run.logged_artifacts():
    print(artifact.name, artifact.type, artifact.version, artifact.aliases, artifact.state)
print(len(run.logged_artifacts()), [used.name for used in run.used_artifacts()])

artifact = api.artifact("local/vision/weights:latest", type="model")
folder = artifact.download()
print(sorted(os.listdir(folder)), os.path.basename(folder))
with open(os.path.join(folder, "weights.bin")) as weights:
    print(weights.read())
print(
    sorted(os.listdir(artifact.download(root="here"))),
    sorted(file.name for file in artifact.files()),
)
print(artifact.metadata, artifact.description, artifact.size, artifact.id)
print(artifact.qualified_name, artifact.entity, artifact.project, artifact.file_count)
print(artifact.logged_by().id, [user.id for user in artifact.used_by()])
print([version.version for version in api.artifacts("model", "local/vision/weights")])

"""Errors, and their messages."""

import wandb

api = wandb.Api()

for path in ("local/vision/nothing", "local/nothing/adam"):
    try:
        api.run(path)
    except wandb.CommError as error:
        print("Could not find run" in error.message, path in str(error))

try:
    list(api.runs("local/nothing"))
except ValueError as error:
    print("Could not find project" in str(error))

try:
    api.artifact("local/vision/nothing:latest")
except wandb.CommError:
    print("no artifact")

run = api.run("local/vision/adam")
run.file("model-best.h5").download(root="errors")
try:
    run.file("model-best.h5").download(root="errors")
except (ValueError, wandb.CommError):
    print("is there already")

"""Files of a run: listed, downloaded, uploaded, deleted."""

import os
from pathlib import Path

import wandb

api = wandb.Api()
run = api.run("local/vision/sgd")

files = run.files()
print(len(files), files[0].name, sorted(file.name for file in files))
for file in run.files():
    if file.name.endswith(".csv"):
        file.download()
        print(Path(file.name).read_text(), file.size, file.mimetype, file.md5)

run.file("model-best.h5").download()
run.file("model-best.h5").download(replace=True)
run.file("model-best.h5").download(root="elsewhere")
run.file("model-best.h5").download(exist_ok=True)
print(Path("elsewhere/model-best.h5").read_text())
print(sorted(file.name for file in run.files(names=["data/table.csv", "model-best.h5"])))
print(sorted(file.name for file in run.files(pattern="%.json")))

os.makedirs("out", exist_ok=True)
Path("out/extra.txt").write_text("said later")
print(run.upload_file("out/extra.txt").name)
print(run.upload_file("out/extra.txt", root="out").name)
print(sorted(file.name for file in api.run("local/vision/sgd").files()))
run.file("extra.txt").delete()
print(sorted(file.name for file in api.run("local/vision/sgd").files()))

"""Files of runs: saved, listed, restored, uploaded, deleted."""

from __future__ import annotations

import pytest

from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]


def test_files_go_up_and_come_back(sdk: Sdk) -> None:
    reported = sdk.run("""
    here = pathlib.Path("work").absolute()
    (here / "models").mkdir(parents=True)
    (here / "models" / "w.h5").write_text("weights")
    (here / "live.txt").write_text("early")
    with wandb.init(project="files") as run:
        run.save(str(here / "models" / "w.h5"), base_path=str(here), policy="now")
        run.save(str(here / "live.txt"), base_path=str(here), policy="live")
        (here / "live.txt").write_text("late")
    path = f"local/files/{run.id}"
    run = Api().run(path)
    restored = wandb.restore("models/w.h5", run_path=path, root="restored").read()
    late = run.file("live.txt").download(root="down").read()
    listed = sorted(file.name for file in run.files(pattern="%.json"))
    first = run.files(names=["config.yaml"])[0]
    run.file("models/w.h5").delete()
    left = {file.name for file in Api().run(path).files()}
    run.upload_file(str(here / "models" / "w.h5"), root=str(here))
    report(restored=restored, late=late, listed=listed, first=[first.name, first.size > 0],
         deleted="models/w.h5" not in left, again=run.file("models/w.h5").size,
         count=len(run.files()) == len(left) + 1)
    """)
    assert reported == {
        "restored": "weights",
        "late": "late",
        "listed": ["wandb-metadata.json", "wandb-summary.json"],
        "first": ["config.yaml", True],
        "deleted": True,
        "again": 7,
        "count": True,
    }

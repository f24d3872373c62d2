"""Reads projects with the official `wandb.Api()`: a JSON line in for each, a JSON line out.

Runs in a process of its own, which takes seconds to start.
"""

from __future__ import annotations

import json
import os
import sys

import wandb

from tests.sdk.reading import read_project

api = wandb.Api()
for line in sys.stdin:
    project, keys = json.loads(line)
    print(json.dumps(read_project(api, project, keys)), flush=True)
os._exit(0)  # for `ENDING`'s reason

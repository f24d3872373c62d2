"""The same names without `await`, for scripts and notebooks.

python examples/without_await.py entity/project
"""

import sys

from aiowandb import Api

with Api() as api:
    for run in api.runs(sys.argv[1], per_page=10):
        sample = run.history(samples=5)
        print(run.name, run.state, len(sample), "sampled rows of", run.last_step + 1, "steps")

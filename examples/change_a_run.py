"""Change config, summary and tags of a finished run, and rename a metric.

python examples/change_a_run.py entity/project/run_id loss final_loss
"""

import sys

from aiowandb import Api

path, old, new = sys.argv[1:]
with Api() as api:
    run = api.run(path)
    run.config["reviewed"] = True
    run.tags.append("published")
    run.summary[new] = run.summary.pop(old)
    run.update()  # only what changed; a ConflictError if someone else changed it too

    api.flush()
    run = api.run(path)
    print(run.tags, run.config["reviewed"], {new: run.summary[new]}, old in run.summary)

"""One metric of a run: a sample of it as a DataFrame, and every value that was logged.

python examples/metrics_of_a_run.py entity/project/run_id loss
"""

import sys

from aiowandb import Api

path, key = sys.argv[1:]
with Api() as api:
    run = api.run(path)
    sample = run.history(samples=100, keys=[key])
    print(sample[key].describe())
    values = [row[key] for row in run.scan_history(keys=[key])]
    print(f"{len(sample)} of {len(values)} values; the least of all is {min(values)}")

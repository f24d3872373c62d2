"""The curve of one metric of a run as a picture.

python examples/plot_with_matplotlib.py entity/project/run_id loss loss.png
"""

import sys

import matplotlib.pyplot as plt

from aiowandb import Api

path, key, picture = sys.argv[1:]
with Api() as api:
    run = api.run(path)
    history = run.history(samples=1000, keys=[key])
    figure, axes = plt.subplots()
    axes.plot(history["_step"], history[key])
    axes.set(title=run.name, xlabel="step", ylabel=key)
    figure.savefig(picture)
    print(len(history), "points in", picture)

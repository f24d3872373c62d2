"""The curves of one metric of all runs of a project in one picture.

python examples/plot_with_seaborn.py entity/project loss losses.png
"""

import sys

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from aiowandb import Api

project, key, picture = sys.argv[1:]
with Api() as api:
    curves = [run.history(keys=[key]).assign(run=run.name) for run in api.runs(project)]
    figure, axes = plt.subplots()
    sns.lineplot(pd.concat(curves), x="_step", y=key, hue="run", ax=axes)
    figure.savefig(picture)
    print(len(curves), "runs in", picture)

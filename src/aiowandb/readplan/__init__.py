"""Plans to read a project with any engine: where the rows are, split into parts.

May import `export` and the layers below. Start reading at `planner`, which asks W&B. A `ReadPlan`
splits what it found into `ReadPart`s, and a part can read its rows in any process.
"""

from aiowandb.readplan.part import ReadPart
from aiowandb.readplan.plan import ReadPlan
from aiowandb.readplan.planner import Planner, PlanOptions

__all__ = ["PlanOptions", "Planner", "ReadPart", "ReadPlan"]

"""A project as a plan that any engine can carry out: where the rows lie, cut into parts.

May import `export` and what lies below. Start reading at `planner`: it asks W&B; a `ReadPlan` cuts
what it found into `ReadPart`s; a part reads itself, in any process.
"""

from aiowandb.readplan.part import ReadPart
from aiowandb.readplan.plan import ReadPlan
from aiowandb.readplan.planner import Planner, PlanOptions

__all__ = ["PlanOptions", "Planner", "ReadPart", "ReadPlan"]

"""Verifies an export: its files against its manifest and its journal, its runs against W&B.

May import `export` and every layer below. Only `repair.py` writes to the folder.
"""

from aiowandb.verification.repair import repair_folder
from aiowandb.verification.report import Problem, Verification, VerifiedRun, VerifyProgress
from aiowandb.verification.verify import verify_folder

__all__ = [
    "Problem",
    "Verification",
    "VerifiedRun",
    "VerifyProgress",
    "repair_folder",
    "verify_folder",
]

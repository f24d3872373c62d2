"""Verifies an export: its files against its manifest and its journal, its runs against W&B.

May import `export` and every layer below. Nothing in the folder is written.
"""

from aiowandb.verification.report import Problem, Verification, VerifiedRun, VerifyProgress
from aiowandb.verification.verify import verify_folder

__all__ = ["Problem", "Verification", "VerifiedRun", "VerifyProgress", "verify_folder"]

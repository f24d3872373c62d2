"""What lies in files at W&B: listed, and brought into a folder whole and checked.

May import `net`, `wire` and what everybody may use.
"""

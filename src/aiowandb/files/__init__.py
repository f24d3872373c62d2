"""Files and artifacts at W&B: lists, downloads that are checked, uploads.

May import `net`, `wire` and what everybody may use.
"""

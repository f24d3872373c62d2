"""Files and artifacts at W&B: lists, downloads that are checked, uploads.

May import `net`, `wire` and the modules that all layers may use.
"""

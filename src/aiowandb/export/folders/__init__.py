"""The folder that an export writes into: on a disk, in an object store, or elsewhere.

Nothing here knows what an export is. Start reading at `base`.
"""

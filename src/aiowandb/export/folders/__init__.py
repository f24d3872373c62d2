"""The folder that an export writes into: on a disk, in an object store, or anywhere else.

Nothing in here knows what an export is; it imports what everybody may use. Start reading
at `base`.
"""

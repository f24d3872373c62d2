"""What is said to W&B and what its answers mean: documents, structs and decoders.

Pure: no sockets, no files, no event loop. May import `errors`, `config` and `paths`.
"""

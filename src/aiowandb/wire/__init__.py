"""The requests to W&B and the responses: GraphQL documents, structs and decoders.

Pure: no sockets, no files, no event loop. May import `errors`, `config` and `paths`.
"""

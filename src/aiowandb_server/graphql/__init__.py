"""The GraphQL face of the store: `schema.graphql` with one module of resolvers a subject.

Resolvers are plain functions. A whole request is executed inside one worker thread.
"""

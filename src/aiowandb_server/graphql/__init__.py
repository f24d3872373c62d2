"""The GraphQL face of the store: `schema.graphql` with one module of resolvers a subject.

Resolvers are plain functions. A request is executed in one worker thread.
"""

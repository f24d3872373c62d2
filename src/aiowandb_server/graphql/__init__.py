"""The GraphQL API of the store: `schema.graphql`, with a module of resolvers for each subject.

Resolvers are plain functions. A request is executed in one worker thread.
"""

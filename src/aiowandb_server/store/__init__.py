"""The store: everything that the embedded W&B knows, on disk. Knows nothing of HTTP or GraphQL."""

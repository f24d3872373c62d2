"""The store: the data of the embedded W&B, on disk. Independent of HTTP and GraphQL."""

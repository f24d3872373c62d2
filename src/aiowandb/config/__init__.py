"""Settings and credentials: from arguments, the environment, and the files of W&B's tools."""

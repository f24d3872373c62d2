"""An async client for Weights & Biases whose exports stream."""

__version__ = "0.1.0"

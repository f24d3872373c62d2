"""Verifying exports."""

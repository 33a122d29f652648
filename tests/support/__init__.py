"""Builders, readers and references that tests share."""

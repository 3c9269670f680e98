"""Runs content in sandboxes on this machine."""

"""Shiny for Python applications."""

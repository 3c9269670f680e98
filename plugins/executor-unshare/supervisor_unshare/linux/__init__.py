"""The kernel, as Python does not offer it: one idea of Linux per module, each result checked."""

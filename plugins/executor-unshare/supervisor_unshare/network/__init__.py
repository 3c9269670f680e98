"""What a sandbox reaches: the host's network, or one of its own with a way out or none."""

"""What goes with time: sweeps, removals, backups."""

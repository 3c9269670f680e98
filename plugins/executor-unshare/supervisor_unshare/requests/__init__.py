"""What may be asked of the helper: every field is read, checked, and held to root-owned rules."""

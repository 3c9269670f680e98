"""Which sandbox this host can give: tried, chosen, and explained to its administrator."""

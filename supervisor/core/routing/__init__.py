"""What gateways ask and are told."""

"""An executor for content-supervisor that runs each process in a podman container."""

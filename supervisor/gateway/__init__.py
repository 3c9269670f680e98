"""The gateway: the only parser of network bytes. Standard library only, one epoll loop."""

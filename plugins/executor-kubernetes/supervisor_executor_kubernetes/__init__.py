"""Runs content in Pods of a Kubernetes cluster."""

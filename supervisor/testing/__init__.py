"""The public test kit: contract suites, fakes named by how they misbehave, fixtures."""

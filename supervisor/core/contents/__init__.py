"""What is asked of contents: made, published, seen, held by this node."""

"""What can be removed from a model, and what falls with it."""

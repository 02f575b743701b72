"""Train the slim network to behave like the original, and write its weights back."""

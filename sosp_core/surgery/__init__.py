"""Cut a model down to a plan, and prove that the cut was right."""

"""From scores, costs and a budget to a plan; pure functions."""

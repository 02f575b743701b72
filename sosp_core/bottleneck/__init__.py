"""Layers that limit a network: which they are, and how much wider they become."""

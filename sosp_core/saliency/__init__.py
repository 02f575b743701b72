"""Scores for structures: how much the loss rises when one of them goes."""

"""Evaluation: a network on a set of images, and the scores of its predictions."""

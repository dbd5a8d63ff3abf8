"""Records to batches: sources, verification, cache, splits, strategies, pipeline.

Nothing in this folder touches a jax device or knows the configuration.
"""

"""Layers whose forms are chosen for speed: convolution, batch normalization, pooling."""

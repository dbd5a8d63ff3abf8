"""Layers with Keras's results, in the form that XLA runs fastest: convolution, normalization, pooling."""

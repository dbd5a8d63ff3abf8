"""What the benchmark scripts share: measuring in turn, and the peers to measure beside."""

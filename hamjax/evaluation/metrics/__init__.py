"""How good predictions are, and how sure of that one can be.

`training.py` runs inside a train step; everything else takes plain arrays, on the host.
"""

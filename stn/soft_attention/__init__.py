"""Soft attention: pooling over features, and a retina of Gaussian filters moved by a recurrent core."""

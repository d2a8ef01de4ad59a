"""Networks that several models are made of: convolutions, recurrent cores, heads, glimpse networks, classifiers."""

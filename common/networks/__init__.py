"""Networks that several models share: convolutions, recurrent cores, heads, glimpse networks, classifiers."""

"""The full numbers of SVHN, read from the published archives."""

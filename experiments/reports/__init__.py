"""The pages of results/, from the stored runs."""

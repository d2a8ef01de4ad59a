"""What agents of hard attention share: configuration, heads, sequences of targets, the hybrid loss, the model."""

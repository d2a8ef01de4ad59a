"""The parts of hard-attention agents: vocabulary, sensor, location policies, rollout, sequences, loss, model."""

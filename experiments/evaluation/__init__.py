"""What trained models are measured by besides error rates."""

"""Learning: architectures, training, predictions and what a trained model gets wrong."""

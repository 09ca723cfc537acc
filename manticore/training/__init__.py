"""Training on Lightning: batches, optimizers, the two LightningModules, callbacks, scores."""

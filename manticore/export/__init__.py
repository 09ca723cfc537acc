"""What leaves the package: Hugging Face checkpoints with the code and the tokenizer they need."""

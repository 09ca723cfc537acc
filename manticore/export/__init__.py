"""Export of hybrids: Hugging Face checkpoints with the code and the tokenizer that they need, and loading them."""

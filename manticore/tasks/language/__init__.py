"""Text: documents, splits without leakage, chunks of tokens, and the corpora of the field."""

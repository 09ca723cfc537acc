"""One story a file: search, fine-tune, evaluate, export. Each reads as what a user would say happens."""

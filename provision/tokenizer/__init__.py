"""`--tokenizer`: which one it is, and its files."""

"""Training of tokenizers: a sample of a dataset → a directory that `--tokenizer` takes, checked before it appears."""

"""The worker: source → tokenizer → split → writer → store, one rank process at a time."""

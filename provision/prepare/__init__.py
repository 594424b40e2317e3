"""What the user asks for → a plan that the hosts can carry out, and its script."""

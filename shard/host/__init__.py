"""One host at work: a supervisor, its rank processes, and how they are stopped and found again."""

"""What clicks teach: the learner's own state, and the memory that searchers apply."""

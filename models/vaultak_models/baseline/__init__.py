"""What is remembered of an agent: decayed counts and moments, in bounded memory."""

"""The audit trail: proved complete and untouched, handed to others, kept for as long as it must be."""

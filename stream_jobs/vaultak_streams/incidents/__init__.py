"""Incidents as people see them: grouped, with their phase of life, told step by step, closed by hand."""

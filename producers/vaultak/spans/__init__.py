"""OpenTelemetry: spans of tools as actions, verdicts as events of those spans."""

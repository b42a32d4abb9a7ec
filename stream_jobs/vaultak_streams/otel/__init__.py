"""OTLP over HTTP: spans of tools, from any OpenTelemetry exporter or collector, as actions with their outcome."""

"""Metrics in the Prometheus text format, and whether a process is alive and ready: for worker, sink and alerts.

`prometheus_client` and not an OpenTelemetry SDK: its collectors read the counts that the processes keep anyway at the
moment of a scrape, so that nothing is paid on the way of an event; an OpenTelemetry collector scrapes the same page.
"""

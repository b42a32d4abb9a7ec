"""The console: what an operator opens to see the fleet, understand an incident and act on it.

Server-rendered pages (Starlette, Jinja2, htmx, server-sent events, uPlot), everything served from this package. It
reads the audit store as its viewer and acts through signed commands only.
"""

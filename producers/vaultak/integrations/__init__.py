"""Adapters: one file for each agent framework, each importable where that framework is installed.

Every adapter takes a client and the agent's name, and hands each tool call to a
`vaultak.integrations.toolcall.ToolGuard` before the tool runs. See `docs/integrations.md`.
"""

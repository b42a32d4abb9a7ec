"""`vaultak mcp-proxy`: any MCP server behind the guard, for any client in any language."""

from vaultak.mcp_proxy.command import main

__all__ = ["main"]

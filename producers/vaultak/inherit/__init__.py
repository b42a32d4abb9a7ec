"""Python children of an agent are the agent too: same id, same session, same policy, an instance of their own.

The parent hands down a file with its settings and two environment variables; a `sitecustomize` that stands ahead of
the host's own enters the monitor before any code of the child runs. A child that cannot have a monitor does not run.
"""

from vaultak.inherit.heritage import VARIABLE, Heritage, environment, hand_down, take_over

__all__ = ["VARIABLE", "Heritage", "environment", "hand_down", "take_over"]

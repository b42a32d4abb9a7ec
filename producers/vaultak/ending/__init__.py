"""What a kill does beyond denying every further action: ends the threads, tasks and child processes of the agent.

Nothing here decides who is killed. A thread, a task or a process is ended only where it works for the killed agent at
that moment; the rest of the program does not notice.
"""

from vaultak.ending.agents import end, uncancel

__all__ = ["end", "uncancel"]

"""From raw records to verdicts and commands: pure, deterministic, the same in the worker and in `vaultak replay`.

No clock, no socket, no random number in here: time is passed in, state is an object that the caller keeps.
`step.Pipeline` is the step, `shard.Shard` the state of one partition.
"""

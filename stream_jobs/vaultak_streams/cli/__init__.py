"""The `vaultak` command: one file per group of commands, assembled in `app`."""

"""The pages, one file each: `routes()` of each is what it answers."""

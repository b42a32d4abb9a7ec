"""The main job, shown: real agents do real work on a real stack, one goes wrong, and what happens next."""

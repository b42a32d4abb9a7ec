"""Where the arguments of an action came from: the request of the user, the past, or the output of a tool."""

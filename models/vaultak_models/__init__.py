"""What an agent usually does, and how unlike that an action is. Pure: no clock, no broker, no chance when scoring."""

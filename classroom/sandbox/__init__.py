"""A process cut off from files and network, within limits, and the messages to it."""

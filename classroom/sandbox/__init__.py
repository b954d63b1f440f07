"""A place for code that nobody trusts: isolation, limits, a process and messages to it."""

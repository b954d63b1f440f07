"""The process that runs a student's code. Nothing that is trusted imports it."""

"""What runs with a student's code. Nothing that is trusted imports it."""

"""What a class handed in. Everything here is hostile data."""

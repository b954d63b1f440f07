"""Work that a class handed in, all of it hostile data: find it, read it, repair it."""

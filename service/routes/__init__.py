"""One module a resource; a route parses, calls and returns."""

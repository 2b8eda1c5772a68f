"""Our functions in the shape that other tools ask for. Only the modules here import those tools."""

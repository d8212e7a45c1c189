"""Where tasks run: children, the warden that starts and outlives them, and what passes between a node and a child."""

"""How tasks run inside a child: one file for each way."""

"""One otpq program: its settings, its supervision tree, its life from `ready` to the last child's end."""

"""otpq: a distributed task queue for Python, built the way Erlang/OTP builds systems."""

"""`otpq shell`: a Python prompt in a process of its own, and the client's methods by their names in it.

What is typed runs here; on a node run its management functions alone.
"""

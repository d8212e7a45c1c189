"""Hypothesis profiles of all property tests: no deadline (threads are slow at times), few enough examples for a commit.

`pytest --hypothesis-profile=thorough tests/property` looks longer.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "otpq", deadline=None, max_examples=200, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("otpq"), max_examples=3000)
settings.load_profile("otpq")

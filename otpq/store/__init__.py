"""Where tasks live. `protocol.py` says what a store can do; then one file per store.

Nothing here decides anything about tasks: the core does. `open_store` and `open_reading` (in `url.py`) make a store from
a URL; the drivers are imported there and not before, so that `import otpq.store` stays cheap.
"""

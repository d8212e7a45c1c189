"""The client: submit tasks, wait for them, ask about them. `client.py` and `aio.py` are two thin shells over `core.py`."""

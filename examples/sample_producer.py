"""Three tasks for sample_task.py: one now, one in a minute, one that may fail and is then tried again, twice.

    otpq node --app examples/sample_task.py:app        in one terminal, which shows what becomes of them
    python examples/sample_producer.py                 in another

It knows the handler by its name alone.
"""

from __future__ import annotations

import otpq


def main() -> None:
    """Submit them, and wait for the two that begin now."""
    with otpq.connect() as client:
        now = client.submit(otpq.Call("sample", ["now"], {"failing": 0}))
        later = client.submit(otpq.Call("sample", ["in", "a", "minute"], {"failing": 0}, delay=60))
        risky = client.submit(otpq.Call("sample", ["may", "fail"], {"failing": 0.5}, retries=2, retry_delay=0.2))

        print("now:", now.get(timeout=30))
        print("in a minute:", later.state)
        (task,) = client.wait([risky], timeout=30)
        print(f"may fail: {task.state} at attempt {task.attempt}")
        print("otpq show", risky.id)


if __name__ == "__main__":
    main()

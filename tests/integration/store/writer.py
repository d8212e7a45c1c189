"""Commits until it is killed: python writer.py STORE. Prints the number of each batch after its commit has returned."""

from __future__ import annotations

import sys

from otpq.core.records import Changes, LeaseRow, TaskRow, TaskUpdate
from otpq.store.url import open_store

BATCH = 5


def task(seq: int, batch: int) -> TaskRow:
    payload = b"x" * (100 if seq % 3 else 5_000)  # inside the row and outside
    id = seq.to_bytes(16, "big")
    return TaskRow(seq, id, f"batch{batch}", "default", "", 5, "queued", 1.0, None, 1.0, 1.0, b"\x80", payload)


def ended(row: TaskRow) -> TaskUpdate:
    return TaskUpdate(row.seq, "succeeded", 1.0, 2.0, 1, 0, 1.5, 2.0, b"r", None, None, None, b"")


def main() -> None:
    store = open_store(sys.argv[1])
    store.open()
    recovered = store.recover()
    seq, lease = recovered.next_seq, recovered.next_lease
    leftover = [LeaseRow(open_lease.lease, "", "", "", 0, 0.0, ()) for open_lease in recovered.leases]
    previous: list[TaskRow] = []
    while True:
        rows = [task(seq + i, seq) for i in range(BATCH)]
        granted = LeaseRow(lease, "n@h", "i", "s", 1, 1.0, tuple(row.seq for row in rows))
        counts = {("default", "queued"): len(rows) - len(previous), ("default", "succeeded"): len(previous)}
        store.commit(
            Changes(inserts=rows, updates=[ended(row) for row in previous], leases=[*leftover, granted], counts=counts)
        )
        sys.stdout.write(f"{seq}\n")
        sys.stdout.flush()
        leftover = [LeaseRow(lease, "", "", "", 0, 0.0, ())]
        previous, seq, lease = rows, seq + BATCH, lease + 1


if __name__ == "__main__":
    main()

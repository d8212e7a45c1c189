"""What an idle node with 2 workers keeps in memory: PSS by process, in which shared pages count in shares.

python benchmarks/footprint.py         after 2,000 no-op tasks and 3 s of rest
python benchmarks/footprint.py --quick after 0.5 s
"""

from __future__ import annotations

import time

from benchmarks.stand import Line, Stand, Table, arguments, memory_mib


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    table = Table.begin("Footprint of an idle node with 2 workers (no web, no reader)", options)
    with Stand() as stand:
        stand.warm()
        stand.hang_up()
        time.sleep(0.5 if options.quick else 3.0)
        names = ["the warden's keeper", "the warden's starter"][: len(stand.warden())]
        names += [f"child {number}" for number, _ in enumerate(stand.children(), 1)]
        pids = [stand.pid, *stand.warden(), *stand.children()]
        parts = [memory_mib(pid, "Pss") for pid in pids]
        for name, pid, part in zip(["the node", *names], pids, parts, strict=True):
            table.add(Line(f"PSS of {name} (RSS {memory_mib(pid, 'Rss'):.1f})", "MiB"), [part])
        peer = "Huey 35; Celery + Redis 85"
        table.add(Line("PSS of all", "MiB", peer, "25 MiB", most=60), [sum(parts)])
    table.end()


if __name__ == "__main__":
    main()

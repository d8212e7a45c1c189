"""The tree around a node's pools.

    pool tree (rest_for_one)
    ├── pools (one_for_one) ── Pool default, Pool io …    the books: what is held, and results until they are committed
    ├── warden                                            the process that starts the children, of all pools
    └── workers (one_for_one)
        └── workers default (one_for_one) ── worker 0 … n, each with its child; started by their pool

The order says who can do without whom. A lost warden takes all children with it, so the workers start anew, while the pools
keep their results and answer for what ran. Without a pool's books nothing of what its workers do has a keeper: the pool that
follows ends them first, and the queue server learns from its first demand that nothing is held any more.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otpq.otp import ChildSpec, Supervisor, cast
from otpq.worker.orders import StaffUp
from otpq.worker.pool import Pool
from otpq.worker.warden_server import Warden

if TYPE_CHECKING:
    from otpq.otp import Pid
    from otpq.worker.pool_config import PoolConfig

__all__ = ["pool_tree"]


def pool_tree(first: PoolConfig, *others: PoolConfig) -> ChildSpec:
    """A supervisor of a node's pools, their warden and their workers, for the node's tree. Raise no pool without one."""
    configs = (first, *others)
    pools = [
        ChildSpec(id=config.pool, start=partial(Pool.start_link, config, name=config.pool), shutdown=10.0)
        for config in configs
    ]
    staffs = [ChildSpec(id=config.staff, start=partial(_start_staff, config), type="supervisor") for config in configs]
    first_lease = first.lease if first.is_fenced_at_once else None
    warden = partial(Warden.start_link, first.directory, first.node, first.incarnation, first_lease, name=first.warden)
    # A pool or a worker that crashes is a fault of ours, and rare; a few in ten seconds are worth another try.
    children = [
        ChildSpec(
            id="pools",
            start=partial(Supervisor.start_link, pools, max_restarts=5, max_seconds=10.0, name="pools"),
            type="supervisor",
        ),
        ChildSpec(id="warden", start=warden, shutdown=10.0),
        ChildSpec(
            id="workers",
            start=partial(Supervisor.start_link, staffs, max_restarts=3, max_seconds=10.0, name="workers"),
            type="supervisor",
        ),
    ]
    # A warden may be lost now and then, by an operator's hand or the kernel's; one that is lost five times in ten seconds
    # is lost for a reason, such as its tombstone, and only a new incarnation helps.
    start = partial(
        Supervisor.start_link, children, strategy="rest_for_one", max_restarts=5, max_seconds=10.0, name="pool tree"
    )
    return ChildSpec(id="pool tree", start=start, type="supervisor")


def _start_staff(config: PoolConfig) -> Pid:
    # Each worker may have some crashes before the whole pool is in doubt.
    supervisor = Supervisor.start_link([], max_restarts=3 + config.size, max_seconds=10.0, name=config.staff)
    cast(config.pool, StaffUp(supervisor))
    return supervisor

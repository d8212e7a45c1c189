"""A fake queue server that runs workflows too, as simply as they can be run: each task the moment it may start."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from otpq.wire import messages as m
from otpq.wire import verbs
from otpq.wire.values import pack_arguments, unpack
from tests.integration.client.fake_server import FakeServer, _view

ENDED = {"succeeded", "failed", "cancelled", "expired"}


class FlowServer(FakeServer):
    """`ok` gives all that it is given, if it is one value that value; else as a `FakeServer`."""

    def __init__(self, *args: Any) -> None:
        self.flows: dict[bytes, verbs.NewWorkflow] = {}
        self.warning: m.Refusal | None = None
        self.page = verbs.MAX_PAGE
        """Members in an answer, at most."""
        super().__init__(*args)

    def _query(self, peer: bytes, query: m.Query) -> None:
        if query.verb == "submit_workflow" and self.refuse is not None:
            facts = {**self.refuse.facts, "index": self.refuse.index}
            return self._send(peer, m.Failed(query.number, self.refuse.code, self.refuse.message, "", facts))
        if query.verb in {"workflow", "cancel_workflow", "retry_workflow"}:
            body: Any = msgspec.msgpack.decode(query.body, type=verbs.VERBS[query.verb].takes)
            if self._of(body.id) is None:
                return self._send(peer, m.Failed(query.number, "not_found", "none", "", {"id": body.id.hex()}))
        return super()._query(peer, query)

    def _facts(self, verb: str, body: Any) -> object:  # noqa: PLR0911 - a table of verbs
        match verb:
            case "submit_workflow":
                is_there = body.id in self.flows
                if not is_there:
                    self.flows[body.id] = body
                    for member in body.members:
                        view = msgspec.structs.replace(_view(member.task), state="pending", workflow=body.id)
                        self.tasks[member.task.id] = view
                    self._go_on(body)
                return verbs.Made(is_there, [] if self.warning is None else [self.warning])
            case "workflow":
                flow = self._of(body.id)
                assert flow is not None
                limit = min(body.limit, self.page)
                following = body.after + limit if body.after + limit < len(flow.members) else None
                members = [
                    verbs.MemberView(place, one.task.id, one.task.name, self._state(flow, place), after=one.after)
                    for place, one in enumerate(flow.members)
                ][body.after : body.after + limit]
                return msgspec.structs.replace(self._stands(flow), members=members, next=following)
            case "workflows":
                flows = [*reversed(self.flows.values())][body.after or 0 :][: body.limit]
                return verbs.WorkflowPage([msgspec.structs.replace(self._stands(flow), counts={}) for flow in flows], 7)
            case "cancel_workflow":
                flow = self._of(body.id)
                assert flow is not None
                if self._stands(flow).finished is not None:
                    return "too_late"
                self._cancel(flow)
                return "cancelling"
            case "retry_workflow":
                return self._retry(self._of(body.id))
            case _:
                return super()._facts(verb, body)

    def _end(self, id: bytes, state: str, **columns: Any) -> None:
        super()._end(id, state, **columns)
        flow = self._of(id)
        if flow is not None:
            if state != "succeeded" and flow.on_failure == "fail":
                self._cancel(flow)
            self._go_on(flow)

    def _go_on(self, flow: verbs.NewWorkflow) -> None:
        for place, member in enumerate(flow.members):
            if self._state(flow, place) == "pending" and all(self._state(flow, one) in ENDED for one in member.after):
                args, kwargs = unpack(member.task.payload)
                if member.takes is not None:
                    args = [self._taken(flow, msgspec.msgpack.decode(member.takes)), *args]
                if member.task.name == "ok" and len(args) != 1:
                    args = [list(args)]
                task = msgspec.structs.replace(member.task, payload=pack_arguments(args, kwargs))
                self.tasks[task.id] = msgspec.structs.replace(self.tasks[task.id], state="queued")
                self._perform(task)

    def _taken(self, flow: verbs.NewWorkflow, shape: Any) -> Any:
        if not isinstance(shape, int):
            return [self._taken(flow, one) for one in shape]
        result = self.tasks[flow.members[shape].task.id].result
        return None if result is None else unpack(result)

    def _cancel(self, flow: verbs.NewWorkflow) -> None:
        for place, member in enumerate(flow.members):
            if self._state(flow, place) not in ENDED:
                super()._end(member.task.id, "cancelled")

    def _retry(self, flow: verbs.NewWorkflow | None) -> str:
        assert flow is not None
        stands = self._stands(flow)
        if stands.finished is None or not stands.failed:
            return "too_early" if stands.finished is None else "too_late"
        for place, member in enumerate(flow.members):
            if self._state(flow, place) != "succeeded":
                name = "ok" if member.task.name == "fail" else member.task.name
                flow.members[place] = msgspec.structs.replace(
                    member, task=msgspec.structs.replace(member.task, name=name)
                )
                self.tasks[member.task.id] = msgspec.structs.replace(
                    self.tasks[member.task.id], state="pending", error=None
                )
        self._go_on(flow)
        return "retried"

    def _stands(self, flow: verbs.NewWorkflow) -> verbs.WorkflowView:
        counts = Counter(self._state(flow, place) for place in range(len(flow.members)))
        ended = sum(counts[state] for state in ENDED)
        is_over = ended == len(flow.members)
        state = "running"
        if is_over:
            state = "failed" if counts["failed"] else "cancelled" if counts["cancelled"] else "succeeded"
        return verbs.WorkflowView(
            id=flow.id,
            title=flow.title,
            on_failure=flow.on_failure,
            state=state if flow.on_failure == "fail" or state != "failed" else "succeeded",
            finished=2.0 if is_over else None,
            total=len(flow.members),
            counts=dict(counts),
            ended=ended,
            failed=ended - counts["succeeded"],
        )

    def _state(self, flow: verbs.NewWorkflow, place: int) -> str:
        return self.tasks[flow.members[place].task.id].state

    def _of(self, id: bytes) -> verbs.NewWorkflow | None:
        task = self.tasks.get(id)
        return self.flows.get(id if task is None or task.workflow is None else task.workflow)

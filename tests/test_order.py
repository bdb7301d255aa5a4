"""What an agent makes of a robot that has restarted meanwhile: refused is one thing, and not known is another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liveagent.clients.robot import contract
from liveagent.clients.robot.contract import ActionUpdate, Command, Connection, Reason, Status
from liveagent.errors import LinkError, OutcomeLost, ToolError
from liveagent.runtime.order import Order
from liveagent.runtime.robot import Robot
from liveagent.runtime.way import WayInbox

STALE = ActionUpdate(id="c1", status=Status.FAILED, reason=Reason.STALE_EPOCH, seq=1)


class Wire:
    """A way to a robot whose answers a test makes up. `sent`: the orders that it was given."""

    site, robot, where = "lab", "base", "nowhere"

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.came = asyncio.Event()

    async def run(self, inbox: WayInbox) -> None:
        await asyncio.Event().wait()

    async def send(self, tail: str, payload: bytes, *, qos: int = 1) -> None:
        if tail == "cmd" and (order := contract.read(Command, payload)).tool == "press":
            self.sent.append(order)
            self.came.set()


async def there(wire: Wire) -> Robot:
    """A robot that is there, in its first life, and was given an order."""
    robot = Robot(wire)
    spec = contract.ToolSpec(name="press", description="Press.", motion=False)
    describe = contract.Describe(site="lab", robot="base", boot="one", tools=[spec])
    robot.up()
    robot.came("describe", contract.write(describe))
    says(robot, "connection", Connection(state="ONLINE", epoch=1, boot="one"))
    return robot


def says(robot: Robot, tail: str, message: Any) -> None:
    robot.came(tail, contract.write(message))


async def ordered(robot: Robot, wire: Wire) -> asyncio.Task[Any]:
    task = asyncio.create_task(robot.do("press", order_id="c1"))
    await wire.came.wait()
    return task


@pytest.mark.parametrize("sent", [1, 2])
async def test_a_refusal_counts_for_what_was_sent_once(sent: int) -> None:
    command = Command(id="c1", tool="press", sent_ms=0, deadline_ms=1000, epoch=1, session="s")
    order = Order(command, "one", lambda share, note: None)
    order.sent = sent
    order.feed(STALE)
    with pytest.raises(ToolError) as failed:
        await order.result()
    assert isinstance(failed.value, OutcomeLost) == (sent > 1)
    assert ("nobody knows" in str(failed.value)) == (sent > 1)


async def test_what_was_sent_again_and_refused_by_another_life_is_not_known() -> None:
    """Broker and robot have gone together: the new robot's refusal comes before anybody has said that it is new."""
    wire = Wire()
    robot = await there(wire)
    task = await ordered(robot, wire)
    robot.down(LinkError("the broker is gone"))
    robot.up()
    says(robot, "action/c1", STALE)
    with pytest.raises(OutcomeLost, match="nobody knows"):
        await task
    await asyncio.sleep(0)
    assert [each.id for each in wire.sent] == ["c1", "c1"]  # under one id, and for one epoch
    assert wire.sent[0] == wire.sent[1]
    await robot.close()


@pytest.mark.parametrize("first", ["ONLINE", "CONFLICT", "CONNECTION_BROKEN"])
async def test_another_life_does_not_know_what_was_ordered_before_it(first: Any) -> None:
    wire = Wire()
    robot = await there(wire)
    task = await ordered(robot, wire)
    says(robot, "connection", Connection(state=first, epoch=2, boot="two"))
    says(robot, "connection", Connection(state="ONLINE", epoch=2, boot="two"))
    with pytest.raises(OutcomeLost, match="has restarted meanwhile"):
        await task
    await robot.close()


async def test_the_last_words_of_an_earlier_life_end_nothing() -> None:
    """A broker's last will may come late."""
    wire = Wire()
    robot = await there(wire)
    task = await ordered(robot, wire)
    says(robot, "connection", Connection(state="CONNECTION_BROKEN", epoch=0, boot="zero"))
    says(robot, "connection", Connection(state="ONLINE", epoch=1, boot="one"))
    says(robot, "action/c1", ActionUpdate(id="c1", status=Status.FINISHED, result="pressed", seq=1))
    assert await task == "pressed"
    await robot.close()

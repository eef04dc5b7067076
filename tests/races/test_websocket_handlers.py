"""WebSocket handlers with a session for each message, while their own text is patched, or stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest

from hotswap.asgi import SessionMiddleware
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads


async def receive_text(receive: Any) -> Any:
    """What a framework has: its frame stands between the handler and the middleware."""
    return (await receive()).get("text")


async def awaited(other: Awaitable[Any]) -> Any:
    return await other


class Chat(Versions):
    source = """
import asyncio
from tests.races.test_websocket_handlers import awaited, receive_text
def price({more}n): return "{v}"
def args(): return ({pass_}1,)
async def quoted(*arguments): return price(*arguments)
async def answers(*arguments):
    yield price(*arguments)
    yield await asyncio.to_thread(price, *arguments)
    yield await asyncio.wait_for(quoted(*arguments), 20)
    for one in await asyncio.gather(quoted(*arguments), asyncio.create_task(quoted(*arguments))): yield one
async def changed(scope, receive, send):
    await receive_text(receive)
    await send({{"type": "websocket.accept"}})
    while await receive_text(receive) is not None:
        await send({{"type": "websocket.send", "of": {{"{v}", *[one async for one in answers({pass_}1)]}}}})
async def received(receive):
    text = "{v}"
    return await receive_text(receive)
async def by_helper(scope, receive, send):
    await received(receive)
    await send({{"type": "websocket.accept"}})
    while await received(receive) is not None:
        await send({{"type": "websocket.send", "of": await told()}})
async def plainly(receive): return await receive_text(receive)
async def messages(receive):
    while (text := await plainly(receive)) is not None: yield text
async def by_plain_helper(scope, receive, send):
    await plainly(receive)
    await send({{"type": "websocket.accept"}})
    while await plainly(receive) is not None:
        await send({{"type": "websocket.send", "of": {{"{v}", *[one async for one in answers({pass_}1)]}}}})
async def over_messages(scope, receive, send):
    await plainly(receive)
    await send({{"type": "websocket.accept"}})
    async for _ in messages(receive):
        await send({{"type": "websocket.send", "of": {{"{v}", *[one async for one in answers({pass_}1)]}}}})
async def turn_of(receive, send, *arguments):
    await receive_text(receive)
    await send({{"type": "websocket.send", "of": {{*[one async for one in answers(*arguments)]}}}})
async def by_library(scope, receive, send):
    await receive_text(receive)
    await send({{"type": "websocket.accept"}})
    while await receive_text(receive) is not None:
        await send({{"type": "websocket.send", "of": {{"{v}"}}}})
        await awaited(turn_of(receive, send, {pass_}1))
async def around(app, scope, receive, send):
    text = "{v}"
    await app(scope, receive, send)
async def told(): return {{*[one async for one in answers(*args())]}}
async def turn(receive, send):
    text = await receive_text(receive)
    if text is not None:
        await send({{"type": "websocket.send", "of": {{"{v}", *[one async for one in answers({pass_}1)]}}}})
    return text is not None
async def same(scope, receive, send):
    await receive_text(receive)
    await send({{"type": "websocket.accept"}})
    while await receive_text(receive) is not None:
        await send({{"type": "websocket.send", "of": {{*[one async for one in answers(*args())]}}}})
"""


@asynccontextmanager
async def connected(app: Any, unit: Any = "message") -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Connect to an application; what this gives sends a message, and returns the answer.

    Arguments:
        app: the application.
        unit: what is a unit of work; None: it sees to that itself.
    """
    messages, sent = asyncio.Queue[dict[str, Any]](), asyncio.Queue[Any]()
    served = app if unit is None else SessionMiddleware(app, websocket=unit)
    connection = asyncio.create_task(served({"type": "websocket"}, messages.get, sent.put))

    async def ask() -> Any:
        await messages.put({"type": "websocket.receive", "text": "?"})
        return (await asyncio.wait_for(sent.get(), 20))["of"]

    await messages.put({"type": "websocket.connect"})
    assert await sent.get() == {"type": "websocket.accept"}
    yield ask
    await messages.put({"type": "websocket.disconnect"})
    await asyncio.wait_for(connection, 20)


@pytest.mark.parametrize("handler", ["changed", "by_plain_helper", "over_messages", "same"])
@pytest.mark.parametrize("unit", ["message", "connection"])
def test_answer_by_one_version(make_package: Callable[..., ModuleType], handler: str, unit: Any) -> None:
    """Each message is a unit: that of a handler that was patched stays old, and died of a `TypeError` in a thread.

    So it does if the handler receives it by a helper that the patch leaves alone.
    """
    chat = Chat(make_package, None)
    stays = handler != "same" or unit == "connection"

    async def talk() -> None:
        async with connected(getattr(chat.core, handler), unit) as ask:
            assert await ask() == {"1"}
            for version, shape in (("2", 1), ("3", 2)):
                chat.apply(version, shape)
                assert await ask() == {"1" if stays else version}
            chat.patcher.rollback()
            assert await ask() == {"1" if stays else "2"}

    asyncio.run(talk())
    assert forks_go()


def test_a_helper_that_has_received_keeps_no_message_old(make_package: Callable[..., ModuleType]) -> None:
    """It was changed, and waited when the patch came: threads of the message were old, and the handler new."""
    chat = Chat(make_package, None)

    async def talk() -> None:
        async with connected(chat.core.by_helper) as ask:
            assert await ask() == {"1"}
            for version, shape in (("2", 1), ("3", 2)):
                chat.apply(version, shape)
                assert [await ask() for _ in range(3)] == [{version}] * 3

    asyncio.run(talk())
    assert forks_go()


def test_a_turn_that_has_ended_keeps_no_message_old(make_package: Callable[..., ModuleType]) -> None:
    """The session of a message goes on until the next one is asked for, which another call may do."""
    chat = Chat(make_package, None)
    turns = [chat.core.turn]

    async def by_turns(_: Any, receive: Any, send: Any) -> None:
        await receive_text(receive)
        await send({"type": "websocket.accept"})
        while await turns[0](receive, send):
            pass

    async def talk() -> None:
        async with connected(by_turns) as ask:
            assert await ask() == {"1"}
            for before, version, shape in (("1", "2", 1), ("2", "3", 2)):
                chat.apply(version, shape)
                assert [await ask() for _ in range(3)] == [{before}, {version}, {version}]

    asyncio.run(talk())
    assert forks_go()


def test_a_helper_that_a_library_awaits_is_of_its_caller(make_package: Callable[..., ModuleType]) -> None:
    """It receives a message itself, and passes on what a changed handler has given to it."""
    chat = Chat(make_package, None)

    async def talk() -> None:
        async with connected(chat.core.by_library) as ask:
            assert [await ask(), await ask()] == [{"1"}] * 2
            chat.apply("2", 1)
            assert [await ask() for _ in range(4)] == [{"1"}] * 4

    asyncio.run(talk())
    assert forks_go()


def test_what_is_around_the_middleware_keeps_no_message_old(make_package: Callable[..., ModuleType]) -> None:
    """The application is of a library, and calls what it was given for each message."""
    chat = Chat(make_package, None)

    async def library(_: Any, receive: Any, send: Any) -> None:
        await receive_text(receive)
        await send({"type": "websocket.accept"})
        while await receive_text(receive) is not None:
            await send({"type": "websocket.send", "of": await chat.core.told()})

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await chat.core.around(SessionMiddleware(library), scope, receive, send)

    async def talk() -> None:
        async with connected(outer, None) as ask:
            assert await ask() == {"1"}
            chat.apply("2", 1)
            assert [await ask() for _ in range(2)] == [{"2"}] * 2

    asyncio.run(talk())
    assert forks_go()

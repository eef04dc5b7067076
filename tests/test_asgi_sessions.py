"""Sessions of ASGI applications, called as a server calls them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import hotswap
from hotswap.asgi import SessionMiddleware
from hotswap.periods import now
from hotswap.session import number_here
from tests.test_session import swap

pytestmark = pytest.mark.threads  # `asyncio.run` can't wait on Pyodide

Script = Callable[[Any, Any], Awaitable[Any]]

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
GONE = {"type": "websocket.disconnect", "code": 1001}


def text(words: str) -> dict[str, str]:
    return {"type": "websocket.receive", "text": words}


class Server:
    """Calls an application in a task of its own; messages wait until it asks for them."""

    def __init__(self, script: Script, kind: str = "websocket", **options: Any) -> None:
        self.returned: Any = None

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.returned = await script(receive, send)

        self.app: Any = SessionMiddleware(app, **options)
        self.kind = kind
        self.sent: list[Any] = []

    async def call(self, *messages: Any) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        for message in messages:
            self.queue.put_nowait(message)
        await self.app({"type": self.kind}, self.queue.get, self.send)

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)

    def answers(self, *messages: Any) -> Any:
        """What the script returned."""

        async def run() -> None:
            await self.call(*messages)
            assert number_here() is None

        asyncio.run(run())
        return self.returned


async def accept(receive: Any, send: Any) -> None:
    assert await receive() == CONNECT
    await send(ACCEPT)


async def two_receptions(receive: Any, send: Any) -> Any:
    """Receive twice, and tell in which session each time; a swap comes between receiving and looking."""
    await accept(receive, send)
    seen = []
    for _ in range(2):
        await receive()
        swap()
        seen.append(number_here())
    return seen


async def turns() -> None:
    """Let other tasks go as far as they can: none of them waits for anything but a message."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestRequest:
    def test_is_one_session_until_the_application_has_returned(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            began = number_here()
            swap()
            await send({"type": "http.response.body"})
            return began, number_here(), await asyncio.create_task(there())

        async def there() -> int | None:
            return number_here()

        first = now().number
        assert Server(script, "http").answers() == (first, first, first)

    def test_begins_with_the_generation_of_its_time(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            return number_here()

        server = Server(script, "http")
        assert server.answers() == now().number
        swap()
        assert server.answers() == now().number

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    def test_ends_with_an_error(self, kind: str) -> None:
        async def script(receive: Any, send: Any) -> Any:
            contexts.append(contextvars.copy_context())
            raise KeyError("no such order")

        contexts: list[contextvars.Context] = []
        with pytest.raises(KeyError, match="no such order"):
            Server(script, kind).answers()
        assert contexts[0].run(number_here) is None

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    @pytest.mark.parametrize("websocket", ["message", "connection"])
    def test_ends_when_it_is_cancelled(self, kind: str, websocket: Any) -> None:
        async def script(receive: Any, send: Any) -> Any:
            if kind == "websocket":
                await accept(receive, send)
                await receive()
            contexts.append(contextvars.copy_context())
            await asyncio.Event().wait()

        async def run() -> None:
            task = asyncio.create_task(Server(script, kind, websocket=websocket).call(CONNECT, text("one")))
            await turns()
            assert contexts[0].run(number_here) == now().number
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        contexts: list[contextvars.Context] = []
        asyncio.run(run())
        assert contexts[0].run(number_here) is None

    def test_joins_the_session_around_it(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            return number_here()

        server = Server(script, "http")
        server.app = SessionMiddleware(server.app)

        async def run() -> None:
            async with hotswap.session():
                swap()
                await server.call()
                assert number_here() == now().number - 1

        asyncio.run(run())
        assert server.returned == now().number - 1

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    @pytest.mark.parametrize("websocket", ["message", "connection"])
    def test_does_not_hold_for_the_server(self, kind: str, websocket: Any) -> None:
        """What a server starts while it sends or receives, the next request perhaps, is not part of this one."""

        async def script(receive: Any, send: Any) -> Any:
            await receive()
            seen.append(number_here())
            await send({"type": "any"})
            seen.append(number_here())

        async def receive() -> Any:
            seen.append(number_here())
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            seen.append(number_here())
            seen.append(await asyncio.create_task(there()))

        async def there() -> int | None:
            return number_here()

        seen: list[int | None] = []
        asyncio.run(Server(script, kind, websocket=websocket).app({"type": kind}, receive, send))
        assert seen == [None, now().number, None, None, now().number]

    def test_that_is_joined_holds_for_the_middleware_between(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            await send({"type": "any"})

        def between(app: Any) -> Any:
            async def middleware(scope: Any, receive: Any, send: Any) -> None:
                async def sending(message: Any) -> None:
                    seen.append(number_here())
                    await send(message)

                await app(scope, receive, sending)

            return middleware

        seen: list[int | None] = []
        server = Server(script, "http")
        server.app = SessionMiddleware(between(server.app))
        server.answers()
        assert seen == [now().number]

    def test_keeps_its_generation_when_the_one_around_it_ends_first(self) -> None:

        async def script(receive: Any, send: Any) -> Any:
            await receive()
            return number_here()

        async def run() -> None:
            async with hotswap.session():
                swap()
                server = Server(script, "http")
                later = asyncio.create_task(server.call())
                await turns()
            server.queue.put_nowait({"type": "http.request"})
            await later
            assert server.returned == now().number - 1

        asyncio.run(run())


class TestOtherScopes:
    @pytest.mark.parametrize("kind", ["lifespan", "tcp"])
    def test_have_no_session_nor_have_their_tasks(self, kind: str) -> None:
        async def there() -> int | None:
            return number_here()

        async def script(receive: Any, send: Any) -> Any:
            return number_here(), await asyncio.create_task(there()), await receive(), number_here()

        assert Server(script, kind).answers("hello") == (None, None, "hello", None)


class TestMessages:
    def test_are_a_session_each(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            seen = [number_here()]
            await accept(receive, send)
            while (await receive())["type"] == "websocket.receive":
                seen.append(number_here())
                swap()
                seen.append(number_here())
            seen.append(number_here())
            return seen

        first = now().number
        numbers = [first, first, first, first + 1, first + 1, first + 2]
        assert Server(script).answers(CONNECT, text("one"), text("two"), GONE) == numbers

    def test_leave_nothing_open_while_the_next_is_waited_for(self) -> None:
        """A connection that is idle for hours holds no generation."""

        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            await receive()
            contexts.append(contextvars.copy_context())
            assert number_here() is not None
            await receive()

        contexts: list[contextvars.Context] = []

        async def run() -> None:
            server = Server(script)
            task = asyncio.create_task(server.call(CONNECT, text("one")))
            await turns()
            period = weakref.ref(now().keeper)
            swap()
            assert period() is None
            assert contexts[0].run(number_here) is None
            server.queue.put_nowait(GONE)
            await task

        asyncio.run(run())

    def test_do_not_keep_those_before(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            await receive()
            before = units()
            for _ in range(50):
                await receive()
            return units() - before

        def units() -> int:
            gc.collect()
            return sum(issubclass(type(o), hotswap.Session) for o in gc.get_objects())

        assert Server(script).answers(CONNECT, *map(text, "x" * 51)) == 0

    def test_the_handshake_is_a_session_until_it_is_accepted(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            seen = [number_here()]
            swap()
            await receive()
            seen.append(number_here())
            await send(ACCEPT)
            return [*seen, number_here()]

        first = now().number
        assert Server(script).answers(CONNECT) == [first, first, None]

    def test_a_refused_handshake_is_a_session_to_its_end(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            await receive()
            await send({"type": "websocket.close"})
            return number_here()

        assert Server(script).answers(CONNECT) == now().number

    def test_an_acceptance_that_fails_does_not_end_the_handshake(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            await receive()
            with pytest.raises(OSError, match="gone"):
                await send(ACCEPT)
            return number_here()

        async def fails(message: Any) -> None:
            raise OSError("gone")

        server = Server(script)
        server.send = fails  # type: ignore[method-assign]
        assert server.answers(CONNECT) == now().number


class TestMessagesInSeveralTasks:
    def test_hold_for_the_task_that_received_them(self) -> None:
        """The usual pair of a reader and a writer, begun within the first message."""

        async def script(receive: Any, send: Any) -> Any:
            async def read() -> None:
                while (await receive())["type"] == "websocket.receive":
                    swap()
                    seen.append((number_here(), contexts[-1].run(number_here), now().number))

            async def write() -> None:
                contexts.append(contextvars.copy_context())

            await accept(receive, send)
            await receive()
            seen: list[Any] = []
            contexts: list[contextvars.Context] = []
            await asyncio.gather(write(), read())
            return seen

        answers = Server(script).answers(CONNECT, text("subscribe"), text("one"), text("two"), GONE)
        # They do not belong to the message that began both tasks; and a writer that goes on for ever has no session.
        assert [(reader - present, writer) for reader, writer, present in answers] == [(-1, None), (-1, None)]

    def test_go_on_in_one_task_while_another_waits(self) -> None:
        """Who listens for the end of the connection does not end the work on a message."""

        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            await receive()
            began = number_here()
            listening = asyncio.create_task(receive())
            await asyncio.sleep(0)
            swap()
            during = number_here()
            listening.cancel()
            return during == began is not None

        assert Server(script).answers(CONNECT, text("long work"))

    def test_are_not_seen_by_who_has_them_received(self) -> None:
        """A variable is set in the context of a task: what is received in one of its own holds for nobody else."""

        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            seen: list[object] = []
            for _ in range(2):
                await asyncio.wait({asyncio.create_task(receive())})
                with hotswap.session():
                    seen.append(number_here())
                seen.append(number_here())
                swap()
            waiting = asyncio.create_task(receive())
            await asyncio.sleep(0)
            # The tasks have ended, and so have their sessions.
            period = weakref.ref(now().keeper)
            swap()
            seen.append(period())
            waiting.cancel()
            return seen

        first = now().number
        numbers = [first, None, first + 1, None, None]
        assert Server(script).answers(CONNECT, text("one"), text("two")) == numbers

    def test_have_no_session_when_the_application_has_returned(self) -> None:
        async def late(receive: Any) -> int | None:
            await receive()
            return number_here()

        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            return asyncio.create_task(late(receive))

        async def run() -> None:
            server = Server(script)
            await server.call(CONNECT)
            server.queue.put_nowait(text("late"))
            assert await server.returned is None

        asyncio.run(run())

    def test_on_another_event_loop_only_the_handshake_has_a_session(self) -> None:
        messages = [CONNECT, text("one"), GONE]
        seen = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            pass

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(number_here())
            await accept(receive, send)
            for _ in range(2):
                await receive()
                seen.append(number_here())

        with pytest.raises(StopIteration):
            SessionMiddleware(app)({"type": "websocket"}, receive, send).__await__().send(None)
        assert seen == [now().number, None, None]


class TestMessagesAndOtherSessions:
    def test_belong_to_the_session_that_the_application_has_open(self) -> None:
        @hotswap.session()
        async def script(receive: Any, send: Any) -> Any:
            seen = []
            await accept(receive, send)
            for _ in range(3):
                await receive()
                swap()
                seen.append(number_here())
            return seen

        assert Server(script).answers(CONNECT, text("one"), text("two"), GONE) == [now().number - 3] * 3

    def test_begin_again_when_that_one_has_ended(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            await receive()
            with hotswap.session():
                swap()
                await receive()
                joined = number_here()
            await receive()
            return joined, number_here()

        first = now().number
        assert Server(script).answers(CONNECT, text("one"), text("two"), text("three")) == (first, first + 1)

    @pytest.mark.parametrize("around", ["message", "connection"])
    def test_belong_to_the_middleware_around(self, around: Any) -> None:
        first = now().number
        server = Server(two_receptions)
        server.app = SessionMiddleware(server.app, websocket=around)
        assert server.answers(CONNECT, text("one"), GONE) == [first, first + (around == "message")]

    def test_belong_to_who_calls_the_application_within_a_session(self) -> None:
        async def script(receive: Any, send: Any) -> Any:
            await accept(receive, send)
            await receive()
            return number_here()

        server = Server(script)

        async def run() -> None:
            async with hotswap.session():
                swap()
                await server.call(CONNECT, text("one"))
                assert number_here() == now().number - 1

        asyncio.run(run())
        assert server.returned == now().number - 1


class TestConnection:
    def test_is_one_session(self) -> None:
        first = now().number
        assert Server(two_receptions, websocket="connection").answers(CONNECT, text("one"), GONE) == [first, first]

    def test_is_one_of_two_units(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            pass

        with pytest.raises(ValueError, match="'message' or 'connection', not 'frame'"):
            SessionMiddleware(app, websocket="frame")  # type: ignore[arg-type]

"""One WebSocket: the handshake is a unit of work, and then each message is one.

Guarantees: one session is open at a time, or none, and none when the application has returned, however it does. While a
task waits for the next message nothing is kept of what it did before: a connection that is idle holds no generation.
Where the task that receives has a session already, which is not one of these, that one goes on, and no other begins.

Assumes: asyncio. A task can set a variable only in its own context, so the session of a message holds for the task that
received it, and for those that this one starts. Other tasks that are at work on the message before lose that one's
session when the next is there; they are known to nobody here. On another event loop, tasks can't be told apart here:
there the handshake alone has a session.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hotswap.asgi.outside import receiving_outside, sending_outside
from hotswap.asgi.protocol import Application, Message, Receive, Scope, Send
from hotswap.openers import task_here
from hotswap.session import Session, number_here

__all__ = ["Conversation"]

Task = asyncio.Task[Any]


class Conversation:
    """The sessions of one WebSocket. Lives as long as the application's call for it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receiving_outside(receive)
        self._send = sending_outside(send, lambda: self._unit)
        self._handshake = Session(scope)
        self._unit = self._handshake
        self._task: Task | None = None
        """The task that received the last message; None before the first."""
        self._over = False

    async def hold(self, app: Application) -> None:
        """Call the application."""
        with self._handshake:  # in the end the variable is what it was before, whatever has been received meanwhile
            try:
                await app(self._scope, self.receive, self.send)
            except Exception:
                self._unit.fail()
                raise
            finally:
                self._over = True
                self._unit.end()
                self._task = None

    async def receive(self) -> Message:
        """Return the next message: the unit before it ends, and its own begins, for the task that asks."""
        task = task_here()
        if self._task is not None and (self._task is task or self._task.done()):
            self._unit.end()
        message = await self._receive()
        if message["type"] == "websocket.connect":  # part of the handshake
            return message
        self._unit.end()
        # A task that outlives the application has no session: nobody would end it.
        if task is not None and not self._over:
            self._task = task
            # The variable is not set back for each message, since another session may stand on this one by then.
            if number_here() is None:
                self._unit = Session.begun(self._scope, task)
        return message

    async def send(self, message: Message) -> None:
        """Send a message. The handshake ends with an acceptance: what follows may go on for ever."""
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._handshake.end()

"""The armed state: both generations are reachable, and everybody is on the old one until the commit."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

from hotswap.errors import CommitError, HotswapError, OutdatedError
from hotswap.journey import Journey
from hotswap.records import State
from hotswap.session import Session, route

__all__ = ["Armed", "Policy"]

Policy = Callable[[Any], bool]


class Armed(Journey):
    """The part of a rollout between verification and the swap. Lives as long as the rollout."""

    _was_armed = False
    _misled = False
    """Whether its policy has failed."""

    def arm(self, policy: Policy | None = None) -> None:
        """Make the candidate reachable beside what is live; everybody stays on the old, but for previews.

        Calls of what the patch changes cost more as long as it is armed. Migrations run now, not at the commit.

        One that was armed before and taken back since may be armed, committed and taken back any number of times, and
        its checks are not run again. Its candidate is the same one if it was kept, and else is loaded anew.

        Arguments:
            policy: gets what each session is about that begins from now on (the ASGI scope, the WSGI environ, or what
                `hotswap.session` was given), and says whether it is on the candidate. One that raises says no, and is
                told once. Without a policy none is.

        Raises TypeError for what is no policy, StateError if the rollout is not verified, and BusyError if it has to be
        loaded anew while another one is in progress (nothing was done). Raises what `stage` raises if it can't be
        loaded anew, and what `commit` raises if the swap can't be made: the rollout is rejected then.
        """
        self._host.refuse_reentry("arm a patch")
        if policy is not None and (not callable(policy) or inspect.iscoroutinefunction(policy)):
            raise TypeError(f"a policy is a callable that returns whether, and no coroutine function; not {policy!r}")
        if self.state is State.ROLLED_BACK and self._was_armed:
            self._again()
        if self.state is not State.VERIFIED or not self._committing.acquire(blocking=False):
            raise self._wrong("armed", "call verify() first" if self.state is State.STAGED else "it has to be verified")
        try:
            self._migrate(threading.Event())
            try:
                self._on_candidate = self._host.arm(self)
            except HotswapError as error:
                raise self.reject(error) from error.__cause__
            except Exception as error:
                failed = CommitError(f"arming failed: {type(error).__name__}: {error}", patch=self.label)
                raise self.reject(failed) from error
        finally:
            self._committing.release()
        self._was_armed = True
        if policy is not None:
            route(self._on_candidate, lambda about: self._chosen(policy, about))
        self._emit("rollout.armed", policy=policy is not None)

    def _again(self) -> None:
        if self._host.is_warm(self):
            try:
                return self._warm_up()
            except OutdatedError:  # a module of the patch was imported since
                self._host.let_go(self)
        self._has_migrated = False
        return self._host.restage(self)

    def _warm_up(self) -> None:
        """Have the candidate be one again that was live. Raises if it can't be, and the state stays then."""
        self._candidate = self._host.warm(self)

    def disarm(self) -> None:
        """Take back what `arm` did: the rollout is verified, and nobody gets the candidate.

        Who is on it goes on with it to the end of his preview, or of his session; and so do calls of its code that are
        in flight, in or out of one. What they write into what is live stays. Raises StateError if it is not armed.
        """
        self._host.move(self, (State.ARMED,), State.VERIFIED)
        self._unarmed()
        self._emit("rollout.disarmed")

    def preview(self, about: object = None) -> Session:
        """Return a session on the candidate: `with rollout.preview(): ...` runs the block through what is live.

        The functions, classes and objects that the service holds lead to the candidate there, and in the tasks that
        the block starts. Names of modules are those of what is live: a constant read there, or a function that only the
        candidate has. After the commit it is a session of the new generation.

        Arguments:
            about: as of `hotswap.session`.

        Raises StateError if the rollout is not armed.
        """
        candidate = self._on_candidate
        if candidate is None:
            raise self._wrong("previewed", "call arm() first")
        return Session(about, (candidate,))

    def _chosen(self, policy: Policy, about: object) -> bool:
        try:
            return bool(policy(about))
        except Exception as error:  # noqa: BLE001 - a session must begin whatever is wrong with a policy; it is told
            if not self._misled:
                self._misled = True
                self._emit("rollout.misrouted", level="error", message=f"{type(error).__name__}: {error}")
            return False

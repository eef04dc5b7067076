"""The armed state: both generations are reachable, and everybody is on the old one until the commit."""

from __future__ import annotations

import copy as copying
import inspect
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from hotswap import events
from hotswap.errors import CommitError, HotswapError, OutdatedError, ShadowError, StateError
from hotswap.journey import Journey
from hotswap.records import State
from hotswap.session import Mark, Session, route
from hotswap.shadows import Options, Shadow, Target, find
from hotswap.verification import Report

__all__ = ["Armed", "Policy"]

Policy = Callable[[Any], bool]


class Armed(Journey):
    """The part of a rollout between verification and the swap. Lives as long as the rollout."""

    _was_armed = False
    _misled = False
    """Whether its policy has failed."""
    _may_shadow = False
    """Whether functions may be shadowed: from `arm` until it is about to be armed no more."""
    _shadows: tuple[Shadow, ...] = ()
    _shadowing: type[Shadow] = Shadow
    """Makes a shadow; a fake has another one."""

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
        began = self._begins("arm")
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
        self._was_armed, self._may_shadow = True, True
        if policy is not None:
            route(self._on_candidate, lambda about: self._chosen(policy, about))
        self._emit("rollout.armed", took=self._took(began), policy=policy is not None)

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

    def shadow(
        self,
        name: str,
        *,
        share: float | Callable[..., Any] = 0.1,
        copy: Callable[[Any], Any] | None = copying.deepcopy,
        compare: Callable[[Any, Any], Any] | None = None,
        ignore: Iterable[str | type[BaseException]] = (),
        seed: int | None = None,
        timeout: float = 5.0,
        workers: int = 2,
        pending: int = 100,
        limit: int | None = None,
    ) -> Shadow:
        """Run the candidate beside live calls of a function, and compare; nobody gets what it answers.

        The candidate is called after the live call, with copies of its arguments, elsewhere: plain functions in threads
        of their own, coroutine functions in tasks on the same event loop. `hotswap.is_shadow()` is true there. What it
        does to the world outside is done, if it does not ask.

        Arguments:
            name: of the function, such as ``shop.pricing.quote`` or ``shop.cart.Cart.total``. The patch need not
                change it: what it calls is the candidate's.
            share: of the calls that are shadowed, drawn at random; or a callable that gets the arguments of a call and
                says whether it is.
            copy: gets each argument before the live call, and what that returned, and returns a copy; with None
                nothing is copied. The default copies arguments together, so that what they share is shared.
            compare: gets what both returned, and says whether it is the same. By default `==` does, and objects that
                do not say what they equal are compared by their attributes. What was raised is compared by type and
                text.
            ignore: names of keys and attributes that the default leaves out, and types of exceptions: a call that ends
                in one of them, here or there, is not compared.
            seed: of the random numbers.
            timeout: seconds that a run of the candidate may take.
            workers: threads that run plain functions; coroutines that run at a time.
            pending: calls that may be under way, or wait. What comes above that is dropped, and counted.
            limit: how many calls may be answered otherwise, or not in time; with one more the rollout is rejected.

        Returns what tells of it. It ends when the rollout is armed no more, or by `end`; then its result is part of the
        report. Raises TypeError or ValueError for what is no such argument, StateError if the rollout is not armed, and
        ShadowError for a function that can't be shadowed. Nothing was done then.
        """
        options = Options(
            share=share,
            copy=copy,
            compare=compare,
            ignore=ignore,
            seed=seed,
            timeout=timeout,
            workers=workers,
            pending=pending,
            limit=limit,
        )
        self._host.refuse_reentry("shadow a function")
        mark = self._backed()
        try:
            with self._host.changing():
                self._backed()
                target = self._found(name)
                if any(one.taps(target) for one in self._shadows):
                    raise ShadowError(f"{name} is shadowed already", advice="end the other shadow first")
                shadow = self._shadowing(target, options, mark, self)
                shadow.start()
                self._shadows += (shadow,)
        except ShadowError as error:
            error.patch = self.label
            error.now_running(self._host.running())
            raise
        return shadow

    def _found(self, name: str) -> Target:
        return find(name, self._host.running(), self.candidate.modules)

    def _backed(self) -> Mark:
        mark = self._on_candidate
        if mark is None or not self._may_shadow:
            raise self._wrong("shadowed", "call arm() first")
        return mark

    @property
    def shadows(self) -> tuple[Shadow, ...]:
        """What `shadow` has returned, since it was first armed."""
        return self._shadows

    def end_shadows(self) -> None:
        """End the shadows: the candidate is about to be out of reach, or live."""
        with self._host.changing():
            self._may_shadow = False
            for shadow in self._shadows:
                shadow.take_out()
        for shadow in self._shadows:
            shadow.end()

    def changing(self) -> AbstractContextManager[Any]:
        """A block in which nobody makes a swap."""
        return self._host.changing()

    def shadow_told(self, event: events.EventName, level: events.Level, facts: dict[str, object]) -> None:
        """Emit an event about a shadow."""
        self._emit(event, level=level, **facts)

    def shadow_refused(self, reason: str) -> None:
        """Reject the rollout, unless it is armed no more."""
        with suppress(StateError):
            if self._is(State.ARMED):
                self.abort(reason)

    def shadow_ended(self, shadow: Shadow) -> None:
        """Have the report tell of it."""
        with self._host.changing():
            self.report = Report((*self.report, shadow.result))

    def _chosen(self, policy: Policy, about: object) -> bool:
        try:
            return bool(policy(about))
        except Exception as error:  # noqa: BLE001 - a session must begin whatever is wrong with a policy; it is told
            if not self._misled:
                self._misled = True
                self._emit("rollout.misrouted", level="error", message=f"{type(error).__name__}: {error}")
            return False

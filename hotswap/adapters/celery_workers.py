"""Workers of Celery that run in this process: how they come to run another version of a task.

A consumer has a strategy for each task, which takes its messages, and each task has what traces its executions. Both
hold what they need of the task, its function and its options, from when they were made. So both are made anew after a
swap, when they are first called: that runs code, which a commit may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery.app.trace import build_tracer

from hotswap.swap import Facts, Op

__all__ = ["Consumers"]

_MISSING: Any = object()


class Consumers:
    """The consumers of one application in this process. Lives as long as the candidate that it is made for.

    Arguments:
        app: the application.
        consumers: its consumers; those that never began have no strategies, and need none.
    """

    def __init__(self, app: Any, consumers: Iterable[Any]) -> None:
        self._app = app
        self._consumers = [consumer for consumer in consumers if consumer.app is app and consumer.strategies]
        self._buckets: dict[tuple[int, str], Any] = {}

    def try_out(self, name: str, task: Any, before: Any) -> None:
        """Make once what will be made again after the swap, so that it fails now if it fails.

        Arguments:
            name: the name of the task.
            task: its new version.
            before: the living one, or None.
        """
        for consumer in self._consumers:
            task.start_strategy(self._app, consumer)
            build_tracer(name, task, self._app.loader, consumer.hostname, app=self._app)
            if before is None or task.rate_limit != before.rate_limit:
                self._buckets[id(consumer), name] = consumer.bucket_for_task(task)

    def change(self, facts: Facts, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Add the writes that have consumers run other tasks.

        Arguments:
            facts: receives the writes.
            before: the tasks that change or go, by name.
            after: those that have changed or are added, by name.
        """

        def late(forward: bool) -> list[Op]:
            wanted, there = (after, before) if forward else (before, after)
            ops: list[Op] = []
            for consumer in self._consumers:
                table = consumer.strategies
                facts.writes.hold(dict(table))
                ops += [(dict.pop, table, name, None) for name in there if name not in wanted]
                ops += [
                    (dict.__setitem__, table, name, LateStrategy(task, self._app, consumer))
                    for name, task in wanted.items()
                ]
            for task in wanted.values():
                own = task.__dict__
                facts.writes.hold(own.get("__trace__"))
                if self._consumers:
                    trace = LateTrace(task, self._app, self._consumers[0].hostname)
                    ops.append((dict.__setitem__, own, "__trace__", trace))
                else:
                    ops.append((dict.pop, own, "__trace__", None))
            return ops

        facts.writes.late(late)
        for consumer in self._consumers:
            for name in after:
                bucket = self._buckets.get((id(consumer), name), _MISSING)
                if bucket is not _MISSING and consumer.task_buckets.get(name) is not bucket:
                    facts.writes.item(consumer.task_buckets, name, bucket)

    def prefork(self) -> list[str]:
        """Return the names of those whose tasks run in child processes."""
        return [
            str(consumer.hostname)
            for consumer in self._consumers
            if type(consumer.pool).__module__ == "celery.concurrency.prefork"
            and getattr(consumer.pool, "_pool", None) is not None
        ]


class LateTrace:
    """Runs a task in a worker. What traces it is made at the first call: that runs code, which a commit may not.

    Lives as long as this version of the task.
    """

    def __init__(self, task: Any, app: Any, hostname: str) -> None:
        self._task, self._app, self._hostname = task, app, hostname
        self._tracer: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Trace one execution: (uuid, args, kwargs, request)."""
        if self._tracer is None:
            app = self._app
            self._tracer = build_tracer(self._task.name, self._task, app.loader, self._hostname, app=app)
        return self._tracer(*arguments)


class LateStrategy:
    """Takes messages for a task in a consumer. The strategy of the task is made when the first message comes.

    It stays in the table of the consumer: putting the strategy there could bring back a task that a swap removes at
    that moment.
    """

    def __init__(self, task: Any, app: Any, consumer: Any) -> None:
        self._task, self._app, self._consumer = task, app, consumer
        self._strategy: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Take one message: (message, payload, ack, reject, callbacks)."""
        if self._strategy is None:
            self._strategy = self._task.start_strategy(self._app, self._consumer)
        return self._strategy(*arguments)

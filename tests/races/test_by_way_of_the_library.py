"""What the standard library calls for an old call there and then is old; what it has in loops of its own is not."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap.testing import ManualClock
from tests.races.threads import forks_go
from tests.races.versions import Versions, stays_old

pytestmark = pytest.mark.threads


TENACITY = """
class Retrying:
    def __init__(self, function): self.function = function
    def __call__(self, *arguments): return self.function(*arguments)
"""
_facts: dict[str, Any] = {"__name__": "tenacity"}  # what is known of it is its name
exec(TENACITY, _facts)
Retrying = _facts["Retrying"]


class Calls(Versions):
    source = """
import argparse
import ast
import html.parser
import io
import json
import logging
import queue
import re
import string
import xml.sax
from tests.races.test_by_way_of_the_library import Retrying
def note({more}n): return "{v}"
class Job:
    def __init__(self, {more}n): self.seen{v} = n
    def __lt__(self, other): return (self.seen{v}, FOUND.append(note({pass_}1)))[0] < other.seen{v}
class Page(html.parser.HTMLParser):
    def handle_starttag(self, tag, attributes): FOUND.append(self.noted({pass_}tag))
    def noted(self, {more}tag): return "{v}"
class Feed(xml.sax.ContentHandler):
    def startElement(self, name, attributes): FOUND.append(self.noted({pass_}name))
    def noted(self, {more}name): return "{v}"
class Option(argparse.Action):
    def __call__(self, parser, namespace, values, option=None): FOUND.append(self.noted({pass_}values))
    def noted(self, {more}values): return "{v}"
class Names(ast.NodeVisitor):
    def visit_Name(self, node): FOUND.append(self.noted({pass_}node))
    def noted(self, {more}node): return "{v}"
class Fields(string.Formatter):
    def get_value(self, key, arguments, keywords): return self.noted({pass_}key)
    def noted(self, {more}key): return "{v}"
class Text(io.TextIOBase):
    def write(self, text): FOUND.append(self.noted({pass_}text))
    def noted(self, {more}text): return "{v}"
class Coded(json.JSONEncoder):
    def default(self, o): return self.noted({pass_}o)
    def noted(self, {more}o): return "{v}"
class Handler(logging.Handler):
    def emit(self, record): FOUND.append(self.noted({pass_}record))
    def noted(self, {more}record): return "{v}"
@Retrying
def retried({more}n): return note({pass_}n)
FOUND = []
def answers():
    FOUND.clear()
    jobs = queue.PriorityQueue()
    for number in (2, 1): jobs.put(Job({pass_}number))
    Page().feed("<a>")
    xml.sax.parseString("<a/>", Feed())
    parser = argparse.ArgumentParser()
    parser.add_argument("--option", action=Option)
    parser.parse_args(["--option", "x"])
    Handler().handle(logging.makeLogRecord({{}}))
    FOUND.append(retried({pass_}1))
    names = Names()
    names.visit_Name(ast.parse("a").body[0].value)
    print("x", file=Text())
    FOUND.append(Fields().format("{{}}", 1))
    FOUND.append(re.sub("x", lambda _: note({pass_}1), "x"))
    FOUND.append(json.loads(json.dumps(object(), cls=Coded)))
    return {{*FOUND}}
def loop():
    text = "{v}"
    while True: yield {{text, *answers()}}
"""


def test_after_the_handover_too(make_package: Callable[..., ModuleType], hotswap_clock: ManualClock) -> None:
    """No code of the package spells the names by which the library asks for methods: their forks were taken away."""
    stays_old(Calls(make_package, 1.0), "loop", hotswap_clock)


def test_goes_on_with_those_of_its_version(make_package: Callable[..., ModuleType]) -> None:
    """Whoever it calls asked its frame, and was the new one: an `AttributeError` on an object of old code."""
    calls = Calls(make_package, None)
    before, during, after = calls.answers_over_a_swap()
    assert (before, during, after) == ({"1"}, ({"1"}, {"2"}), {"2"})
    assert forks_go()

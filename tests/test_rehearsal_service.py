"""A whole service is rehearsed with a patch that does everything wrong, and sees nothing of it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hotswap.process_copy import can_copy

if not can_copy():
    pytest.skip("a process can't be copied here", allow_module_level=True)

pytestmark = pytest.mark.threads

SERVICE = """
import asyncio, hashlib, logging, mmap, os, signal, socket, sqlite3, sys, threading
from pathlib import Path

import hotswap
import shop

events = []
database = sqlite3.connect("shop.db", isolation_level=None, check_same_thread=False)
database.execute("create table orders (n integer)")
database.execute("insert into orders values (1)")
log = logging.getLogger("shop")
log.addHandler(logging.FileHandler("shop.log"))
log.warning("started")
counters_file = open("counters", "w+b")
counters_file.write(bytes(mmap.PAGESIZE))
counters_file.flush()
counters = mmap.mmap(counters_file.fileno(), mmap.PAGESIZE)
buffered = open("buffered.txt", "w")
buffered.write("pending ")
end = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: events.append("SIGTERM"))
patcher = hotswap.Patcher(["shop"], check_timeout=5)


def files():
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path().iterdir() if path.is_file()}


async def handle(reader, writer):
    connections.append(writer)
    while line := await reader.readline():
        writer.write(b"%d\\n" % shop.quote(int(line)))
        await writer.drain()
    writer.close()


connections = []
SOURCE = Path("shop/__init__.py").read_text().replace("10 *", "9 *")

def everything(candidate):
    "Whatever a careless check may do with what the service has open."
    loop_socket = connections[0].get_extra_info("socket")
    listening = server.sockets[0]
    for act in (
        lambda: print("from the copy", flush=True),
        lambda: log.error("from the copy"),
        lambda: (buffered.write("from the copy"), buffered.flush(), buffered.close()),
        lambda: database.execute("insert into orders values (99)"),
        lambda: database.close(),
        lambda: counters.__setitem__(0, 99),
        lambda: counters.flush(),
        lambda: counters_file.truncate(0),
        lambda: connections[0].write(b"from the copy\\n"),
        lambda: os.write(loop_socket.fileno(), b"from the copy\\n"),
        lambda: os.close(loop_socket.fileno()),
        lambda: os.close(listening.fileno()),
        lambda: loop.call_soon_threadsafe(events.append, "from the copy"),
        lambda: loop._selector.close(),
        lambda: loop.close(),
        lambda: end.set(),
        lambda: sys.stdout.close(),
        lambda: hotswap.rehearsing() or events.append("not in a copy"),
    ):
        try:
            act()
        except (OSError, sqlite3.Error, RuntimeError, ValueError):
            pass
    shop.ORDERS.clear()
    os.kill(os.getpid(), 0)


async def main():
    global loop, server
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    threads = [threading.Thread(target=end.wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

    async def ask(n):
        writer.write(b"%d\\n" % n)
        return int(await asyncio.wait_for(reader.readline(), 10))

    assert await ask(3) == 30
    sys.stdout.write("pending ")
    before = files()
    # A patch that ends badly, after all of that; one that does all of that and comes through; and one that crashes.
    for checks, code in (([everything, lambda _: os._exit(0)], "exited"), ([everything], None), ([crash], "crashed")):
        shop.ORDERS[3] = shop.ORDERS.get(3, 0) + 1
        orders = dict(shop.ORDERS)
        version = {"exited": "1", None: "2", "crashed": "3"}[code]
        patch = hotswap.Patch.from_sources({"shop": SOURCE + f"# {version}\\n"}, version=version)
        try:
            rollout = await patcher.apply_async(patch, rehearse=hotswap.Rehearsal(checks=checks))
        except hotswap.RehearsalError as error:
            assert error.code == code, error
        else:
            assert code is None
            assert rollout.state == "live"
        assert shop.ORDERS == orders
        assert files() == before, {name for name in before if files()[name] != before[name]}
        assert counters[0] == 0
        assert events == []
        assert await ask(3) == (30 if code == "exited" else 27)
        assert not end.is_set()
    reader2, writer2 = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer2.write(b"1\\n")
    assert await reader2.readline() == b"9\\n"
    writer.close()
    writer2.close()
    database.execute("insert into orders values (2)")
    assert database.execute("select n from orders").fetchall() == [(1,), (2,)]
    buffered.write("here")
    buffered.close()
    assert Path("buffered.txt").read_text() == "pending here"
    end.set()
    server.close()


def crash(candidate):
    import ctypes
    ctypes.string_at(0)


asyncio.run(main())
print("done")
"""


class TestService:
    @pytest.mark.slow
    def test_sees_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "__init__.py").write_text("ORDERS = {}\n\ndef quote(n):\n    return 10 * n\n")
        program = tmp_path / "service.py"
        program.write_text(textwrap.dedent(SERVICE))
        found = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", str(program)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert (found.returncode, found.stdout) == (0, "pending done\n"), found.stderr
        assert "from the copy" not in found.stderr

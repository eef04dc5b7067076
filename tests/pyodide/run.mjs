// Runs pytest on CPython 3.14 in Pyodide: node run.mjs FOLDER CHECKOUT [pytest's arguments...]
//
// FOLDER holds node_modules/pyodide and site/, where pip has put hotswap's wheel and what the tests need.
// Everything is read from this machine; nothing is fetched. The exit code is pytest's.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, checkout, ...pytestArguments] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(folder, "node_modules", "pyodide", "pyodide.mjs")));

const pyodide = await loadPyodide({
  env: {
    HOME: "/home/pyodide",
    PYTHONDONTWRITEBYTECODE: "1",
    NOX_CURRENT_SESSION: "pyodide",
    ...(process.env.CI ? { CI: process.env.CI } : {}), // there hypothesis looks at the same programs every time
  },
});
// The checkout itself never gets onto sys.path: what is tested is the wheel.
pyodide.mountNodeFS("/site-packages", join(folder, "site"));
pyodide.mountNodeFS("/checkout", checkout);

const main = pyodide.runPython(`
import sys

def main(arguments):
    sys.path.append("/site-packages")
    import pytest

    return int(pytest.main([
        "--config-file=/checkout/pyproject.toml",
        "--rootdir=/checkout",
        # There is nothing to write to, no signal to wait for, and no file descriptor to dump a traceback to.
        "-p", "no:cacheprovider",
        "-p", "no:faulthandler",
        "-o", "timeout=0",
        *arguments,
    ]))

main
`);

const given = pytestArguments.map((argument) => (argument.startsWith("tests/") ? `/checkout/${argument}` : argument));
const paths = given.some((argument) => argument.startsWith("/checkout/")) ? [] : ["/checkout/tests"];
process.exitCode = main(pyodide.toPy([...given, ...paths]));

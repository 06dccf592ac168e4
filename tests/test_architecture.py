"""The rules of the layout: who may import whom, what is documented, how long files are."""

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "data", "models", "zoo")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
MAX_LINES = 320
MAX_FILES = 15
HEAVY = {"jax", "flax", "optax", "orbax", "numpy", "tensorflow", "seqio", "matplotlib", "scipy"}
TENSORFLOW = {"tensorflow", "seqio", "tensorflow_datasets"}
READ_BY_SEQIO = "data.seqio_tasks"
FLOORS = (
    ("models", "data.text", "data.vocabularies"),
    ("models.attention", "data.tokens", "configs"),
    ("models.encoders", "configs.parts"),
    ("configs.studies", "configs.contrasts"),
    ("data.batches", "zoo.common"),
    ("data.seqio_tasks", "zoo.distribution"),
    ("zoo.training",),
    ("zoo.checkpoints",),
    ("zoo.inference", "zoo.command_line"),
    ("zoo.planning.hardware",),
    ("zoo.planning.speed",),
    ("zoo.planning", "zoo.explaining", "zoo.contrasts"),
    ("zoo.reporting", "zoo.ngram"),
    ("zoo.runs",),
    ("zoo.hf", "zoo.verification", "zoo.scaling_laws"),
    ("zoo.benchmarking", "zoo.ablation"),
    ("zoo.lessons",),
)
"""The rooms from the ground up: a room imports only from those on floors below its own, and from
what stands at the top of the packages, `data` and `zoo`, and is no command."""
PLAIN_DATA = {
    "models.config",
    "models.encoders.stacks",
    "models.execution",
    "models.flops",
    "models.parameters",
    "configs.parts.batch_ramps",
    "configs.experiment",
    "configs.parts.objectives",
    "configs.parts.optimizers",
    "configs.paper",
    "data.batches.sizes",
    "data.config",
    "data.errors",
}
"""Modules of dataclasses and errors, which need only the standard library and each other."""


def parse(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def nodes_when_imported(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run at import: not the bodies of functions, nor a type checker's blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from nodes_when_imported(node)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Full names of the modules that import statements name; for our own, the submodule."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & set(SOURCES)
            if names - set(SOURCES):
                found.add(node.module)
    return found


def anywhere(module: str) -> set[str]:
    return imported(ast.walk(parse(module)))


def at_import(module: str) -> set[str]:
    return imported(nodes_when_imported(parse(module)))


def top(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def reachable(module: str) -> set[str]:
    """Everything that importing `module` imports, through our own modules, theirs included."""
    seen, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in SOURCES:
            found = at_import(name) | {name.rpartition(".")[0] or name}
            waiting |= found - seen
    return seen


def within(package: str) -> list[str]:
    return [module for module in SOURCES if module.split(".")[0] == package]


MAY_NOT_IMPORT = {
    "models": {"zoo", "configs", "data", "optax", "orbax"} | TENSORFLOW,
    "configs": {"zoo"} | HEAVY,
    "data": {"zoo", "configs", "models", "jax", "flax", "optax", "orbax"},
    "zoo": TENSORFLOW,
}


@pytest.mark.parametrize("module", SOURCES)
def test_packages_import_one_way(module):
    assert not top(anywhere(module)) & MAY_NOT_IMPORT[module.split(".")[0]]


def room_of(module: str) -> str:
    """The folder that the module lies in, by its dotted name."""
    is_package = SOURCES[module].name == "__init__.py"
    return module if is_package else module.rpartition(".")[0]


def floor_of(room: str) -> int:
    (floor,) = (number for number, rooms in enumerate(FLOORS) if room in rooms)
    return floor


def is_command(module: str) -> bool:
    return "if __name__ == " in SOURCES[module].read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [name for name in SOURCES if "." in room_of(name)])
def test_a_room_imports_from_floors_below(module):
    room = room_of(module)
    for other in (anywhere(module) & set(SOURCES)) - PLAIN_DATA:
        if room_of(other) in ("data", "zoo"):
            assert room == "zoo" or room.startswith("zoo.") or not is_command(other), other
            assert not (room_of(other) == "zoo" and is_command(other)), other
        elif room_of(other) != room:
            assert floor_of(room_of(other)) < floor_of(room), other


def test_no_imports_run_in_a_circle():
    waiting = {module: (anywhere(module) & set(SOURCES)) - {module} for module in SOURCES}
    while ready := [module for module, others in waiting.items() if not others & set(waiting)]:
        for module in ready:
            del waiting[module]
    assert waiting == {}


def test_a_room_is_seen_at_a_glance():
    rooms = [
        room_of(module) for module, path in SOURCES.items() if path.name != "__init__.py"
    ]  # which says what the room is
    assert {room: rooms.count(room) for room in rooms if rooms.count(room) > MAX_FILES} == {}


@pytest.mark.parametrize("module", within("data"))
def test_one_room_imports_tensorflow(module):
    assert room_of(module) == READ_BY_SEQIO or not top(anywhere(module)) & TENSORFLOW


@pytest.mark.parametrize(
    "module", sorted(PLAIN_DATA | {"zoo.common.process", "zoo.common.signals"})
)
def test_plain_data_needs_only_the_standard_library(module):
    ours = {name for name in anywhere(module) if name.split(".")[0] in PACKAGES}
    assert ours <= PLAIN_DATA
    assert top(anywhere(module)) - set(PACKAGES) <= sys.stdlib_module_names


@pytest.mark.parametrize("command", [name for name in within("zoo") if is_command(name)])
def test_help_reaches_nothing_heavy(command):
    assert not top(reachable(command)) & HEAVY


@pytest.mark.parametrize("module", ["zoo", "zoo.inference.loading", "zoo.sample"])
def test_sampling_reaches_no_tensorflow(module):
    assert not top(reachable(module)) & TENSORFLOW
    assert not [name for name in reachable(module) if name.startswith(READ_BY_SEQIO)]


def public_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("module", SOURCES)
def test_what_is_public_is_documented(module):
    undocumented = [
        node.name for node in public_definitions(parse(module)) if not ast.get_docstring(node)
    ]
    assert undocumented == []


def docstrings(tree: ast.AST) -> Iterator[str]:
    """The docstrings of modules, classes and functions, and those below fields and constants."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if docstring := ast.get_docstring(node):
            yield docstring
        for before, after in itertools.pairwise(node.body):
            match before, after:
                case ast.Assign() | ast.AnnAssign(), ast.Expr(ast.Constant(str(text))):
                    yield text


@pytest.mark.parametrize("module", SOURCES)
def test_a_docstring_names_the_thing_first(module):
    headless = re.compile(r"(Of|What|Where|How|Whether|When|Why|Like|Those|Such|Which)\b")
    assert [text for text in docstrings(parse(module)) if headless.match(text)] == []


@pytest.mark.parametrize("module", SOURCES)
def test_a_file_fits_in_a_head(module):
    assert len(SOURCES[module].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_the_walk_finds_the_sources():
    """So that no rule holds because nothing was looked at."""
    assert {"zoo.train", "models.transformer", "configs.palm", "data.seqio_tasks.tasks"} <= set(
        SOURCES
    )
    assert "zoo.command_line.cli" in at_import("zoo.train")
    assert "zoo.runs.loop" not in at_import("zoo.train")
    assert {"zoo.runs.loop", "jax"} <= anywhere("zoo.train") | anywhere("zoo.runs.loop")
    assert "jax" in top(reachable("zoo.inference.loading"))

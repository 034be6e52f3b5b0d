"""The house stays in order: what the import contracts cannot say of packages, modules and names."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("worker", "db", "trainer")
#: More modules side by side are more than a newcomer can hold in mind.
MAX_MODULES = 14


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the product but migrations, with its syntax tree."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT), ast.parse(path.read_text())


def test_no_module_imports_a_private_name_of_another() -> None:
    found = [
        f"{path}: {node.module}.{alias.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOMS
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert found == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_class_name_has_two_meanings_in_a_room(room: str) -> None:
    places = defaultdict(list)
    for path, tree in modules():
        if path.parts[0] == room:
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_every_package_says_in_one_sentence_what_it_is_for() -> None:
    silent = []
    for path, tree in modules():
        said = ast.get_docstring(tree) if path.name == "__init__.py" else "."
        first = (said or "").split("\n\n")[0]
        if not first.endswith(".") or len(first) > 2 * 120:
            silent.append(str(path))
    assert silent == []


def test_no_folder_has_more_modules_than_a_newcomer_can_hold_in_mind() -> None:
    counts: dict[str, int] = defaultdict(int)
    for path, _ in modules():
        counts[str(path.parent)] += path.name != "__init__.py"
    # A command a module; migrations are a history.
    crowded = {folder: count for folder, count in counts.items() if count > MAX_MODULES and "commands" not in folder}
    assert crowded == {}

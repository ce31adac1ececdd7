"""Who may import whom, and what `--help` loads: docs/architecture.md as a test."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import frozenprobe

ROOT = Path(frozenprobe.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
ROOMS = sorted({path.parent for path in MODULES} - {ROOT})
MOST_MODULES = 13  # in a folder: what one glance takes in
BESIDE = {
    "history",
    "invariants",
    "extract_ranks",
    "platforms",
    "task",
}  # tests of several modules at once


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def importers(package: str) -> set[str]:
    """Files that import a package or something in it, relative to the project's package."""
    found = set()
    for path in MODULES:
        if any(name == package or name.startswith(package + ".") for name in imports(path)):
            found.add(path.relative_to(ROOT).as_posix())
    return found


def name_of(path: Path) -> str:
    """`frozenprobe.room.module`, or `frozenprobe.room` of its `__init__`."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """Names that lead from one of them back to it; none if there is no circle."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(arrows[name]):
            found = follow(other, [*way, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := follow(name, []))), [])


def arrows_between(names: dict[str, str]) -> dict[str, set[str]]:
    """Who imports whom, each module taken for what `names` says; arrows from one to itself are left out."""
    arrows: dict[str, set[str]] = {name: set() for name in names.values()}
    for path in MODULES:
        own = names[name_of(path)]
        arrows[own] |= {names[name] for name in imports(path) if name in names} - {own}
    return arrows


def test_no_module_imports_itself_by_way_of_others():
    assert circle_in(arrows_between({name_of(path): name_of(path) for path in MODULES})) == []


def test_no_room_imports_itself_by_way_of_others():
    """Rooms with rooms in them count by their modules: low ones and high ones lie there side by side."""
    leaves = {room for room in ROOMS if not any(room in other.parents for other in ROOMS)}
    taken_for = {name_of(path): name_of(path.parent if path.parent in leaves else path) for path in MODULES}
    assert circle_in(arrows_between(taken_for)) == []


def test_a_circle_would_be_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]


def test_the_top_of_the_tree_is_the_design_card():
    shown = {path.name for path in ROOT.iterdir() if not path.name.startswith(("_", "."))}
    card = {"extract", "cache", "probe", "cli.py"}
    assert shown == card | {"commands", "images", "system", "demo", "errors.py", "py.typed"}


def test_a_folder_can_be_taken_in_at_a_glance():
    shown = {room: len([path for path in MODULES if path.parent == room and path.stem != "__init__"]) for room in ROOMS}
    assert {name_of(room): count for room, count in shown.items() if not 0 < count <= MOST_MODULES} == {}


def test_a_room_says_at_its_door_what_comes_in_and_what_goes_out():
    for room in ROOMS:
        tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
        assert len(tree.body) == 1, room
        said = ast.get_docstring(tree) or ""
        assert "come" in said, room
        assert "go" in said, room


def test_tests_lie_in_the_rooms_of_what_they_test():
    for path in [*TESTS.rglob("test_*.py")]:
        room = path.parent.relative_to(TESTS)
        if room.parts and room.parts[0] not in ("faults", "mutants"):
            assert (ROOT / room).is_dir(), path
            concept = path.stem.removeprefix("test_")
            assert concept in BESIDE or (ROOT / room / f"{concept}.py").exists(), path


COMPOSERS = {"demo/run.py", "commands/extract.py"}  # they may see both sides


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("torchvision", "extract/"),
        ("timm", "extract/"),
        ("h5py", "cache/"),
        ("PIL", "extract/"),
        ("click", "commands/"),
        ("tqdm", "commands/"),
    ],
)
def test_a_library_has_one_home(package, allowed):
    homes = {"demo/run.py", "demo/pictograms.py"} if package == "PIL" else {"cli.py"} if package == "click" else set()
    assert importers(package)
    assert {path for path in importers(package) if not path.startswith(allowed)} <= homes


def test_extract_and_probe_never_import_each_other():
    assert {path for path in importers("frozenprobe.probe") if path.startswith(("extract/", "cache/"))} == set()
    assert {path for path in importers("frozenprobe.extract") if path.startswith(("probe/", "cache/"))} == set()


GROUND = {"errors", "_version"}


@pytest.mark.parametrize(
    ("room", "known"),
    [
        ("system", set()),
        ("images", {"system"}),
        ("cache", {"system", "images"}),
        ("extract", {"system", "images", "cache"}),
        ("probe", {"system", "cache"}),
    ],
)
def test_a_room_knows_only_those_below_it(room, known):
    seen = {
        name.split(".")[1]
        for path in (ROOT / room).rglob("*.py")
        for name in imports(path)
        if name.startswith("frozenprobe.")
    }
    assert seen <= {room, *known, *GROUND}


def test_the_cache_knows_neither_torch_nor_sklearn():
    for package in ("torch", "sklearn"):
        assert not any(path.startswith("cache/") for path in importers(package))


def test_only_composing_modules_see_both_sides():
    both = importers("frozenprobe.probe") & importers("frozenprobe.extract")
    assert both <= COMPOSERS


def test_there_is_no_drawer_for_odds_and_ends():
    for path in MODULES:
        assert path.stem not in {"utils", "util", "helpers", "common", "base", "misc"}


def test_only_the_command_line_prints():
    for path in MODULES:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints, path


def test_every_module_says_its_role_in_its_first_line():
    for path in MODULES:
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[:1]
        assert first, path
        assert len(first[0]) > 20, path


HEAVY = ("torch", "torchvision", "sklearn", "pandas", "h5py", "numpy", "scipy", "matplotlib", "timm", "PIL")


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["extract", "--help"], set()),
        (["plan", "--help"], set()),
        (["probe", "--help"], set()),
        (["submit", "--help"], set()),
        (["curve", "labels", "--help"], set()),
        (["curve", "labels", "nothing.h5"], {"h5py", "numpy"}),
        (["backbones"], set()),
        (["verify", "--help"], set()),
        (["info", "nothing.h5"], {"h5py", "numpy"}),
        (["verify", "nothing.h5"], {"h5py", "numpy"}),
        (["repair", "nothing.h5"], {"h5py", "numpy"}),
        (["merge", "nothing.h5", "nothing.h5"], {"h5py", "numpy"}),
        (["submit", "--runs", "nowhere"], {"h5py", "numpy"}),
        (["compare", "--runs", "nowhere"], {"numpy"}),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments, allowed):
    code = (
        "import sys\nfrom frozenprobe.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.splitlines()[-1].split()[1:]) <= allowed


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ("--c 1.0", {"h5py", "numpy"}),
        ("--head ridge --alpha 0.1", {"h5py", "numpy"}),
        ("--head knn", {"h5py", "numpy"}),
        ("--head lda --shrinkage 0.3 --calibrate", {"h5py", "numpy", "scipy"}),
        ("", {"h5py", "numpy", "scipy"}),
    ],
)
def test_a_probe_loads_only_what_its_head_needs(options, allowed, make_features, tmp_path):
    line = ["probe", str(make_features(classes=2).path), *options.split(), "--runs", str(tmp_path / "runs")]
    code = (
        "import sys\nfrom frozenprobe.cli import main\n"
        f"try: main({line!r})\nexcept SystemExit as end: assert not end.code\n"
        f"print('LOADED', *[name for name in {(*HEAVY, 'joblib', 'dask')!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.splitlines()[-1].split()[1:]) <= allowed


def test_every_public_name_is_there_and_none_is_loaded_early():
    code = (
        "import sys, frozenprobe\n"
        "assert not {'torch', 'sklearn', 'numpy', 'click'} & set(sys.modules)\n"
        "assert len(frozenprobe.__all__) > 40\n"
        "for name in frozenprobe.__all__: getattr(frozenprobe, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = frozenprobe.nothing


LEVELS = ("container", "", "growing", "care")  # of the cache, from the bottom up; "": the modules beside its rooms


def test_the_rooms_of_the_cache_know_only_those_below_them():
    def level(module: str) -> int:
        parts = module.removeprefix("frozenprobe.cache").split(".")[1:]
        return LEVELS.index(parts[0] if parts and parts[0] in LEVELS else "")

    for path in MODULES:
        own = ".".join(("frozenprobe", *path.relative_to(ROOT).with_suffix("").parts))
        if own.startswith("frozenprobe.cache."):
            known = {name for name in imports(path) if name.startswith("frozenprobe.cache")}
            assert {name for name in known if level(name) > level(own)} == set(), own

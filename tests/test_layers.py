"""Who may import whom, and what `--help` loads: docs/architecture.md as a test."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import frozenprobe

ROOT = Path(frozenprobe.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def importers(package: str) -> set[str]:
    """Files that import a package or something in it, relative to the project's package."""
    found = set()
    for path in MODULES:
        if any(name == package or name.startswith(package + ".") for name in imports(path)):
            found.add(path.relative_to(ROOT).as_posix())
    return found


COMPOSERS = {"demo/run.py", "__init__.py"}  # they may see both sides


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
        "assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "for name in frozenprobe.__all__: getattr(frozenprobe, name)\n"
        "homes = {name for names in frozenprobe.HOMES.values() for name in names}\n"
        "assert homes | {'__version__'} == set(frozenprobe.__all__), homes ^ set(frozenprobe.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
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

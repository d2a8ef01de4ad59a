"""The rules of docs/explanation/architecture.md that can be read off the source: imports, docstrings, sizes."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = [name for name in ("common", "ram", "dram", "stn", "experiments") if (ROOT / name).is_dir()]
AGENTS = {"ram", "dram", "stn"}
# What each folder may not import.
FORBIDDEN = {"common": AGENTS | {"experiments", "tests"}, "experiments": {"tests"}}
FORBIDDEN |= {agent: (AGENTS - {agent}) | {"experiments", "tests"} for agent in AGENTS}
# The folders of `common` and `experiments` from the bottom up: each may import what comes before it. The empty name is
# that of the files at the top: what all of `common` uses, and the commands.
LAYERS = {
    "common": ("", "geometry", "data", "training", "policy_gradient", "attention", "networks"),
    "experiments": (
        *("output", "cli", "evaluation", "training", "plots", "families", "pages", "runs", "sweeps", "reports"),
        *("studies", "benchmarks", ""),
    ),
}
# Libraries that one place alone may know.
ONLY_IN = {
    "orbax": ("common/training/checkpoints.py",),
    "distrax": ("common/attention/location_policies.py",),
    "tensorflow_datasets": ("common/data/tfds/", "experiments/"),
    "matplotlib": ("experiments/",),
    "tensorboardX": ("experiments/",),
    "tyro": ("experiments/",),
    "rich": ("experiments/",),
}


def _files(*folders):
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def _tree(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _imports(path):
    """Dotted names that a file imports, at any depth."""
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _roots(path):
    return {name.split(".")[0] for name in _imports(path)}


def _public(path):
    """Public functions and classes of a file, and the public methods of the latter, as ``(name, node)``."""
    for node in _tree(path).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                # Flax calls `setup`; it is not for users.
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and method.name != "setup":
                    yield f"{node.name}.{method.name}", method


@pytest.mark.parametrize("path", _files(*FOLDERS), ids=str)
def test_imports_go_one_way(path):
    assert _roots(path).isdisjoint(FORBIDDEN[path.parts[0]])


def _layer(name):
    """The folder of a module as `LAYERS` names it; None for what is no module."""
    path = Path(*name.split("."))
    if not ((ROOT / path).is_dir() or (ROOT / path.with_suffix(".py")).is_file()):
        return None
    return path.parts[1] if (ROOT / Path(*path.parts[:2])).is_dir() and len(path.parts) > 1 else ""


@pytest.mark.parametrize("root", LAYERS)
def test_folders_import_only_what_lies_below_them(root):
    layers, upwards = LAYERS[root], []
    for path in _files(root):
        own = path.parts[1] if len(path.parts) > 2 else ""
        if path != Path(root, "__init__.py"):
            imported = {_layer(name) for name in _imports(path) if name.startswith(f"{root}.")} - {None}
            upwards += [(str(path), name) for name in imported if layers.index(name) > layers.index(own)]
    assert upwards == []


def test_the_top_of_experiments_holds_commands_alone():
    for path in (ROOT / "experiments").glob("*.py"):
        assert path.name == "__init__.py" or 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_in_one_place(library):
    users = [path.as_posix() for path in _files(*FOLDERS) if library in _roots(path)]
    assert users and all(user.startswith(ONLY_IN[library]) for user in users)


def test_nothing_is_pickled():
    for path in _files(*FOLDERS, "tests"):
        assert _roots(path).isdisjoint({"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}), (
            path
        )
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{path}:{node.value.lineno}"


@pytest.mark.parametrize("path", _files(*FOLDERS), ids=str)
def test_everything_public_has_a_docstring(path):
    assert ast.get_docstring(_tree(path)), "the module"
    missing = [name for name, node in _public(path) if not ast.get_docstring(node)]
    assert not missing


def _is_bare(annotation):
    """Whether an annotation holds an array without a shape: `Array`, unlike `Float[Array, "T M B"]`."""
    if isinstance(annotation, ast.Subscript):
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        has_shape = isinstance(parts[-1], ast.Constant) and isinstance(parts[-1].value, str)
        # What a callable takes is its own business.
        return not has_shape and ast.unparse(annotation.value) != "Callable" and any(map(_is_bare, parts))
    if isinstance(annotation, ast.BinOp):
        return _is_bare(annotation.left) or _is_bare(annotation.right)
    return ast.unparse(annotation).split(".")[-1] in ("Array", "ndarray", "AnyArray")


def test_a_bare_array_is_recognised():
    bare = ["Array", "jax.Array", "np.ndarray", "tuple[Array, int]", "Array | None", "dict[str, tuple[int, Array]]"]
    shaped = ['Float[Array, "T M B"]', 'Key[Array, ""]', 'UInt8[np.ndarray, "N"] | None', "Callable[..., Array]", "int"]
    assert [_is_bare(ast.parse(text, mode="eval").body) for text in bare + shaped] == [True] * 6 + [False] * 5


@pytest.mark.parametrize("path", _files(*(name for name in FOLDERS if name != "experiments")), ids=str)
def test_arrays_of_public_functions_have_shapes(path):
    """An array is annotated with its shape, or the docstring gives the shape in brackets."""
    for name, node in _public(path):
        if isinstance(node, ast.FunctionDef) and "." not in name and "[" not in ast.get_docstring(node):
            annotations = [argument.annotation for argument in [*node.args.args, *node.args.kwonlyargs]]
            bare = [ast.unparse(a) for a in [*annotations, node.returns] if a and _is_bare(a)]
            assert not bare, f"{name}: {bare}"


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_no_file_is_long(folder):
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in _files(folder)}
    assert {path: length for path, length in lengths.items() if length > 400} == {}

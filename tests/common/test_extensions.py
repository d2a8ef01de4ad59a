"""What users plug in as ``module:name`` is found, checked and explained in the same way for every kind."""

import hashlib
import math
import sys
from typing import NamedTuple

import jax.numpy as jnp
import pytest

from common.extensions import (
    Call,
    Extension,
    accepted,
    check_pair,
    check_returned,
    check_state,
    is_own,
    source_digest,
    source_files,
)


class Pair(NamedTuple):
    """Two functions in place of one."""

    init: object
    update: object


class Base:
    """What the classes of a kind are derived from."""

    def __init__(self, size):
        self.size = size


FUNCTION = Extension("reward", {"correct": max, "gain": min}, Call(("logits", "labels"), optional=("discount",)))
CLASS = Extension("core", {"rnn": Base}, Call(named=("size",)), base=Base, members=("step",))
INSTANCE = Extension("task", {"mnist": Base(1)}, base=Base)
STATEFUL = Extension(
    "advantage",
    {},
    Call(("rewards",)),
    alternatives={
        Pair: {"init": Call(("length",)), "update": Call(("rewards", "state"), optional=("discount", "rate"))}
    },
)

MODULE = """
from tests_of_extensions_base import Base, Pair

def good(logits, labels, *, discount=1.0): ...
def narrow(logits): ...
def demanding(logits, labels, *, temperature): ...

class Core(Base):
    def step(self): ...

class Stepless(Base): ...

class Sizeless(Base):
    def __init__(self): ...
    def step(self): ...

task = Base(3)
number = 3
pair = Pair(lambda length: 0, lambda rewards, state, *, discount: 0)
bad_init = Pair(lambda: 0, lambda rewards, state: 0)
bad_update = Pair(lambda length: 0, lambda rewards: 0)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's in the current folder, which is not on the path of imports."""
    (tmp_path / "mine_to_plug_in.py").write_text(MODULE)
    (tmp_path / "broken_to_plug_in.py").write_text("raise RuntimeError('no licence\\nmore')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setitem(sys.modules, "tests_of_extensions_base", sys.modules[__name__])
    yield "mine_to_plug_in"
    sys.modules.pop("mine_to_plug_in", None)


def test_a_built_in_is_found_by_its_name():
    assert FUNCTION.resolve("gain") is min and CLASS.resolve("rnn") is Base


def test_things_of_every_kind_are_imported_from_the_current_folder(mine):
    assert FUNCTION.resolve(f"{mine}:good").__name__ == "good"
    assert issubclass(CLASS.resolve(f"{mine}:Core"), Base)
    assert INSTANCE.resolve(f"{mine}:task").size == 3
    assert isinstance(STATEFUL.resolve(f"{mine}:pair"), Pair)
    assert FUNCTION.resolve("math:atan2") is math.atan2
    assert FUNCTION.resolve("builtins:max") is max, "a function without a signature is trusted"


@pytest.mark.parametrize(
    ("extension", "name", "fragments"),
    [
        (
            FUNCTION,
            "corect",
            ["unknown reward 'corect': did you mean 'correct'? choose from correct, gain, or give mo"],
        ),
        (FUNCTION, "", ["unknown reward '': choose from correct, gain, or give module:name"]),
        (FUNCTION, "no_such_module:f", ["reward 'no_such_module:f': No module named", "or give module:name"]),
        (FUNCTION, "{mine}:goood", ["has no 'goood': did you mean 'good'?"]),
        (FUNCTION, "math:", ["reward 'math:': module 'math' has no ''"]),
        (FUNCTION, ":sqrt", ["reward ':sqrt': Empty module name"]),
        (FUNCTION, ".math:sqrt", ["reward '.math:sqrt'"]),
        (FUNCTION, "broken_to_plug_in:f", ["reward 'broken_to_plug_in:f': no licence; choose from"]),
        (FUNCTION, "{mine}:number", ["not a function"]),
        (FUNCTION, "{mine}:narrow", ["it is called with (logits, labels), and with discount if it names them"]),
        (FUNCTION, "{mine}:demanding", ["temperature", "it is called with (logits, labels)"]),
        (CLASS, "{mine}:good", ["core", "not a Base"]),
        (CLASS, "{mine}:Stepless", ["has no step"]),
        (CLASS, "{mine}:Sizeless", ["it is called with (size=...)"]),
        (INSTANCE, "{mine}:number", ["task", "not a Base"]),
        (STATEFUL, "{mine}:bad_init", ["init: ", "it is called with (length)"]),
        (STATEFUL, "{mine}:bad_update", ["update: ", "it is called with (rewards, state), and with discount"]),
    ],
)
def test_what_cannot_be_used_is_explained_in_one_line(mine, extension, name, fragments):
    name = name.format(mine=mine)
    with pytest.raises(ValueError) as error:
        extension.resolve(name)
    message = str(error.value)
    assert repr(name) in message and "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_a_function_is_given_the_values_that_it_names():
    assert accepted(lambda a, *, discount: 0, {"discount": 1, "decay": 2}) == {"discount": 1}


def test_the_digest_of_a_source_follows_its_file_and_built_ins_have_none(mine, tmp_path):
    file = tmp_path / "mine_to_plug_in.py"
    assert source_digest(f"{mine}:good") == hashlib.sha256(file.read_bytes()).hexdigest()
    before = source_digest(f"{mine}:good")
    file.write_text(MODULE + "# changed")
    assert source_digest(f"{mine}:good") != before
    assert source_digest("gain") is None and source_digest("math:sqrt") is None and source_digest("absent_:f") is None
    assert source_files(["gain", f"{mine}:good", f"{mine}:narrow", "math:sqrt"]) == [file]


NUMBERS = jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("value", "description"),
    [
        (jnp.zeros((3, 2)), "float32[3, 2]"),
        (jnp.zeros(3), "float32[3]"),
        (jnp.zeros((2, 3), int), "int32[2, 3]"),
        (jnp.zeros((2, 3), bool), "bool[2, 3]"),
        (0.0, "float"),
        (None, "None"),
        ("text", "str"),
        ((NUMBERS, NUMBERS), "(float32[2, 3], float32[2, 3])"),
        ({"output": NUMBERS}, "{output: float32[2, 3]}"),
    ],
)
def test_a_returned_array_has_its_shape_and_floating_point_numbers(value, description):
    check_returned("network", NUMBERS, (2, 3), "[B, F]")
    check_returned("network", NUMBERS.astype(jnp.bfloat16), (2, 3), "[B, F]")
    with pytest.raises(ValueError) as error:
        check_returned("network", value, (2, 3), "[B, F]")
    expected = "must return floating-point numbers [B, F], here [2, 3]"
    assert str(error.value) == f"the network returned {description}: {expected}"


@pytest.mark.parametrize("value", [None, jnp.zeros(1), 1, "text"])
def test_a_returned_number_is_one_floating_point_number(value):
    check_returned("loss", jnp.zeros(()), (), "[]")
    check_returned("loss", 0.5, (), "[]")
    with pytest.raises(ValueError, match=r"^the loss returned [\w\[\]]+: must return one floating-point number$"):
        check_returned("loss", value, (), "[]")


@pytest.mark.parametrize(
    ("state", "description"),
    [
        ({"mean": jnp.zeros(3), "weight": 0.0}, "{mean: float32[3], weight: float}"),
        ({"mean": NUMBERS, "weight": jnp.zeros((), int)}, "{mean: float32[2, 3], weight: int32[]}"),
        ({"mean": NUMBERS}, "{mean: float32[2, 3]}"),
        (NUMBERS, "float32[2, 3]"),
        (None, "None"),
        ("text", "str"),
    ],
)
def test_a_state_keeps_its_structure_shapes_and_types(state, description):
    earlier = {"mean": NUMBERS, "weight": jnp.zeros(())}
    for same in (earlier, {"mean": NUMBERS + 1, "weight": 1.0}):
        check_state("advantage", same, earlier)
    check_state("advantage", (), ())
    with pytest.raises(ValueError) as error:
        check_state("advantage", state, earlier)
    expected = "must be as it was given, {mean: float32[2, 3], weight: float32[]}"
    assert str(error.value) == f"the advantage returned the state {description}: {expected}"


@pytest.mark.parametrize(
    ("returned", "description"),
    [
        (None, "None"),
        (NUMBERS, "float32[2, 3]"),
        ([NUMBERS, NUMBERS], "[float32[2, 3], float32[2, 3]]"),
        ((NUMBERS,), "(float32[2, 3],)"),
        ((NUMBERS,) * 3, "(float32[2, 3], float32[2, 3], float32[2, 3])"),
    ],
)
def test_a_pair_is_a_tuple_of_two(returned, description):
    assert check_pair("core", ((), NUMBERS), "(state, output)") == ((), NUMBERS)
    with pytest.raises(ValueError) as error:
        check_pair("core", returned, "(state, output)")
    assert str(error.value) == f"the core returned {description}: must return the pair (state, output)"


def test_nothing_is_imported_to_find_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "never_import_me"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "inner.py").write_text("raise SystemExit('imported')")
    assert source_files(["never_import_me.inner:f", "never_import_me:f"]) == [
        package / "inner.py",
        package / "__init__.py",
    ]
    assert is_own("never_import_me.inner:f") and is_own("math:sqrt")
    assert not is_own("never_import_me.outer:f") and not is_own("gain")

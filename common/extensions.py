"""Extensions: what users choose by a built-in name or plug in as ``module:name``.

An `Extension` describes one kind, such as a reward or a recurrent core: its built-ins, and how one of its kind is
called. All kinds are found, checked and explained by the same code. Modules are searched for like any import, and in
the current folder.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp

from common.names import check_name, closest


@dataclasses.dataclass(frozen=True)
class Call:
    """The arguments that a function or a class is called with.

    Attributes:
      arguments: positional arguments, in this order.
      named: keyword arguments.
      optional: keyword arguments that it receives if it has an argument of that name.
    """

    arguments: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def explain_misfit(self, function: Callable) -> str | None:
        """Explain why a function cannot be called in this way; None if it can."""
        named = dict.fromkeys([*self.named, *accepted(function, dict.fromkeys(self.optional))])
        try:
            _signature(function).bind(*self.arguments, **named)
        except TypeError as error:
            given = ", ".join([*self.arguments, *(f"{name}=..." for name in self.named)])
            optional = f", and with {', '.join(self.optional)} if it names them" if self.optional else ""
            return f"{error}; it is called with ({given}){optional}"
        return None


@dataclasses.dataclass(frozen=True)
class Extension:
    """A kind of thing that users can plug in.

    Attributes:
      name: what the kind is called in messages: ``reward``, ``core``.
      built_in: the built-in ones by name.
      call: how one is called; None for what is no function.
      base: the class that it is an instance of or, if it is a class itself, derived from; None for any.
      members: attributes that it must have.
      alternatives: for instances of these classes, in place of ``call``: how their functions are called, by attribute.
    """

    name: str
    built_in: Mapping[str, Any]
    call: Call | None = None
    base: type | None = None
    members: tuple[str, ...] = ()
    alternatives: Mapping[type, Mapping[str, Call]] = dataclasses.field(default_factory=dict)

    def resolve(self, name: str) -> Any:
        """Return what a name stands for: a built-in, or what ``module:name`` imports.

        Raises:
          ValueError: the name is unknown, cannot be imported, or stands for something of another kind.
        """
        if ":" not in name:
            check_name(self.name, name, self.built_in, "module:name")
            return self.built_in[name]
        try:
            value = _load(name)
        except (Exception, SystemExit) as error:  # A user's module may raise anything while it is imported, or exit.
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            message = "the module calls exit() while it is imported" if isinstance(error, SystemExit) else message
            choices = f"choose from {', '.join(self.built_in)}, or give module:name"
            raise ValueError(f"{self.name} {name!r}: {message}; {choices}") from error
        misfit = self.explain_misfit(value)
        if misfit:
            raise ValueError(f"{self.name} {name!r}: {misfit}")
        return value

    def explain_misfit(self, value: Any) -> str | None:
        """Explain why something is not of this kind; None if it is."""
        for cls, calls in self.alternatives.items():
            if isinstance(value, cls):
                misfits = ((part, call.explain_misfit(getattr(value, part))) for part, call in calls.items())
                return next((f"{part}: {misfit}" for part, misfit in misfits if misfit), None)
        if self.base is not None and not _is_a(value, self.base):
            return f"not a {self.base.__name__}"
        missing = [member for member in self.members if not hasattr(value, member)]
        if missing:
            return f"has no {', '.join(missing)}; it needs {', '.join(self.members)}"
        if self.call is None:
            return None
        return self.call.explain_misfit(value) if callable(value) else "not a function"

    def receives(self, value: Any, argument: str) -> bool:
        """Return whether one of this kind is given an argument of this name: it names the argument or the field."""
        calls = next((calls for cls, calls in self.alternatives.items() if isinstance(value, cls)), None)
        if calls is None:
            return bool(accepted(value, {argument: None}))
        given = (getattr(value, part) for part, call in calls.items() if argument in call.optional)
        return any(accepted(function, {argument: None}) for function in given)


def accepted(function: Callable, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of ``values`` for which the function has an argument of that name."""
    names = _signature(function).parameters
    return {name: value for name, value in values.items() if name in names}


@contextlib.contextmanager
def must_return(what: str, value: Any, expected: str) -> Iterator[None]:
    """Explain that a function of the user's own returned something else than it must, where a check in the block fails.

    Args:
      what: the function, for the message, such as ``reward function``.
      value: what it returned.
      expected: what it must return, for the message.

    Raises:
      ValueError: the value fails a check of chex, or lacks what the block reads of it.
    """
    try:
        yield
    except (AssertionError, AttributeError, IndexError, TypeError, ValueError):
        raise ValueError(f"the {what} returned {describe_arrays(value)}: must return {expected}") from None


def check_returned(what: str, value: Any, shape: tuple[int, ...], axes: str) -> None:
    """Check an array that a function of the user's own returned: a wrong shape would broadcast silently.

    Args:
      what: the function, for the message, such as ``reward function``.
      value: what it returned.
      shape: the shape that it must have; its numbers must be floating-point.
      axes: the names of the axes, for the message, such as ``[T, M, B]``; ``[]`` for a single number.

    Raises:
      ValueError: it is something else.
    """
    expected = f"floating-point numbers {axes}, here {list(shape)}" if shape else "one floating-point number"
    with must_return(what, value, expected):
        if value is None:
            raise TypeError  # Chex takes it for an empty tree.
        chex.assert_shape([value], shape)
        chex.assert_type([value], float)


def check_state(what: str, state: Any, earlier: Any) -> None:
    """Check the state that a function of the user's own returned: the loops over glimpses and steps need the same one.

    Args:
      what: the function, for the message, such as ``core``.
      state: what it returned.
      earlier: the state that it was given.

    Raises:
      ValueError: the structure, a shape or a type has changed.
    """
    try:
        chex.assert_trees_all_equal_shapes_and_dtypes(*jax.tree.map(jnp.asarray, (state, earlier)))
    except (AssertionError, AttributeError, TypeError, ValueError):
        now, before = describe_arrays(state), describe_arrays(earlier)
        raise ValueError(f"the {what} returned the state {now}: must be as it was given, {before}") from None


def check_pair(what: str, returned: Any, meaning: str) -> tuple[Any, Any]:
    """Check that a function of the user's own returned a pair, and return it.

    Raises:
      ValueError: it is no pair; ``meaning`` says what it must be, such as ``(state, output)``.
    """
    with must_return(what, returned, f"the pair {meaning}"):
        chex.assert_equal(isinstance(returned, tuple) and len(returned), 2)
    return returned


def describe_arrays(tree: Any) -> str:
    """Describe a tree by the types and shapes of its arrays, such as ``(float32[8, 256], float32[8, 256])``."""
    leaves = jax.tree.map(
        lambda leaf: f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__, tree
    )
    return str(leaves).replace("'", "")


def source_file(name: str) -> Path | None:
    """Return the file that ``module:name`` is defined in; None for a built-in, or for what has no Python source.

    Nothing is imported, not even the packages that the module lies in.
    """
    spec = _find_module(name)
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def is_own(name: str) -> bool:
    """Return whether a name is ``module:name`` of a module that can be imported. Nothing is imported."""
    return _find_module(name) is not None


def _find_module(name: str) -> ModuleSpec | None:
    """Find the module of ``module:name``, without importing the packages that it lies in."""
    module, separator, _ = name.partition(":")
    if not separator:
        return None
    _search_current_folder()
    parent, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(parent)
        for child in rest:
            parent = f"{parent}.{child}"
            folders = None if spec is None else spec.submodule_search_locations
            spec = None if folders is None else PathFinder.find_spec(parent, folders)
    except (ImportError, ValueError):
        return None
    return spec


def source_files(names: Iterable[str]) -> list[Path]:
    """Return the files that these names are defined in, each once, in order; built-ins have none."""
    return list(dict.fromkeys(file for file in map(source_file, names) if file is not None))


def source_digest(name: str) -> str | None:
    """Return the SHA-256 of the file that ``module:name`` is defined in; None where there is no such file."""
    file = source_file(name)
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def _load(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    _search_current_folder()
    module = importlib.import_module(module_name)
    if attribute not in vars(module):
        raise AttributeError(f"module {module_name!r} has no {attribute!r}{closest(attribute, vars(module))}")
    return getattr(module, attribute)


def _search_current_folder() -> None:
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


def _is_a(value: Any, base: type) -> bool:
    return issubclass(value, base) if isinstance(value, type) else isinstance(value, base)


def _signature(function: Callable) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:  # Functions written in C may have no signature; they are trusted to take what they are given.
        return inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL)])

"""Optional packages: which ones a task needs, and how to install them."""

import importlib.util


def require_extra(user: str, packages: str, extra: str, *modules: str) -> None:
    """Check that the modules of an optional dependency are installed, without importing them.

    Args:
        user: who needs them, such as "task 'svhn_numbers'".
        packages: what they are called in the message.
        extra: the name of the extra in setup.cfg that installs them.
        modules: names of top-level modules.

    Raises:
        ValueError: a module is missing; the message says what to install.
    """
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise ValueError(f"{user} needs {packages}: pip install '.[{extra}]'")

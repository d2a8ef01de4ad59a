"""The command line of `experiments.ablate`: flags with several values become a study."""

import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from common.checks import Range, check_ranges, refuse_settings
from experiments.cli.command_line import fail, user_errors
from experiments.cli.command_line import parse as parse_flags
from experiments.cli.fields import Field, allowed, convert, fields_of, find_field, get, is_bool
from experiments.families import FAMILIES, Family, find_family, find_preset
from experiments.sweeps.study import Study, load_study

PROG = "python -m experiments.ablate"


@dataclass(frozen=True)
class Options:
    """Launcher and folder of the sweep."""

    sweep_dir: Path | None = None
    """Folder of the sweep; by default runs/ablate-NAME. An existing folder is resumed or extended by new cells."""
    launcher: Literal["local", "ray"] = "local"
    """Launcher of the cells: local, processes of this machine; ray, a Ray cluster."""
    jobs: Annotated[int, Range(1)] = 1
    """Processes of the local launcher at a time; each has as many cores."""
    together: Literal["auto", "vmap", "in_turn", "no"] = "auto"
    """How cells of the local launcher share a process. no: each cell has its own process. in_turn: cells run one after
    another in a process and share its compiled programs. vmap: like in_turn, but agents that differ only in seeds and
    continuous hyperparameters train at once, in one batched program. auto: vmap on a GPU or TPU, in_turn on a CPU."""
    ray_address: str | None = None
    """Address of the Ray cluster, HOST:PORT; by default Ray starts a cluster of this machine alone."""
    cpus: Annotated[float, Range(above=0)] = 1.0
    """Cores that Ray reserves for a cell."""
    gpus: Annotated[float, Range(0)] = 0.0
    """GPUs that Ray reserves for a cell; with 0.5 two cells share one."""
    retries: Annotated[int, Range(0)] = 3
    """Times that Ray restarts a cell whose worker died."""
    cell_reports: bool = False
    """Also draw the plots and the report of each cell."""
    dry_run: bool = False
    """List the cells and stop."""


@dataclass(frozen=True)
class StudyChoice:
    """Run a study from a Python file that makes an `experiments.sweeps.study.Study`."""

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.py[:NAME]")]
    """FILE.py, or FILE.py:NAME if the file makes several studies."""
    options: Options = dataclasses.field(default_factory=Options)


def parse(args: Sequence[str]) -> tuple[Study, Options]:
    """Parse ``FAMILY --preset PRESET [flags]`` or ``study FILE.py[:NAME] [flags]``. Exits on help and on errors."""
    args = list(args)
    if args and args[0] == "study":
        choice = parse_flags(StudyChoice, f"{PROG} study", args[1:])
        with user_errors():
            name, study = load_study(choice.file)
        return (study if study.name else dataclasses.replace(study, name=name)), check_options(choice.options)
    with user_errors():
        if not args or args[0].startswith("-"):
            raise ValueError(f"no family given: give {', '.join(FAMILIES)}, module:NAME or study (see --help)")
        family = find_family(args[0])
    return _parse_family(family, args[1:])


def check_options(options: Options) -> Options:
    """Check the options of a sweep, and return them. Exits with one line on a mistake."""
    with user_errors():
        check_ranges(options)
        if options.launcher == "ray":
            only_local = ("jobs", "together")
            refuse_settings(options, only_local, " with launcher 'ray': works only with --launcher local")
        else:
            only_ray = ("gpus", "cpus", "retries", "ray_address")
            refuse_settings(options, only_ray, " with launcher 'local': works only with --launcher ray")
    return options


def _parse_family(family: Family, args: list[str]) -> tuple[Study, Options]:
    is_help = any(arg in ("-h", "--help") for arg in args)
    with user_errors():
        preset = _preset(args)
        if preset is None and not is_help:
            meant = args[0] if args and args[0] in family.presets else f"with one of {', '.join(family.presets)}"
            raise ValueError(f"no preset given: give --preset {meant}")
        preset = preset or next(iter(family.presets))
        base = find_preset(family, preset)
    fields = fields_of(type(base))
    command = _command(family, preset)
    parsed: Any = parse_flags(command, f"{PROG} {family.name}", _plain_switches(args, fields))
    axes: dict[str, Any] = {}
    for name, field in fields.items():
        values = get(parsed.axes, field.path)
        if not values:
            fail(f"{name}: give one or more values, each {allowed(field.hint)}")
        if values != (str(get(base, field.path)),):
            axes[name] = values
    seeds: int | list[int] = parsed.study.seeds
    with user_errors():
        if "seed" in axes:
            if _has_flag(args, "--seeds"):
                raise ValueError("--seed with --seeds: give one of them")
            seeds = [convert("seed", text, int) for text in axes.pop("seed")]
        zipped = []
        for group in parsed.study.zip:
            members = [find_field(fields, name) for name in group]
            if len(members) < 2 or len(set(members) & set(axes)) < len(members):
                raise ValueError(f"zip {' '.join(group)!r}: must be two fields or more, each once and with its values")
            zipped.append({name: axes.pop(name) for name in members})
    study = Study(family.name, preset, axes, zipped, seeds, {}, parsed.study.name)
    return study, check_options(parsed.options)


def _preset(args: Sequence[str]) -> str | None:
    """Return the preset among the flags, which sets the defaults of the other flags; None if there is none."""
    for index, arg in enumerate(args):
        if arg.startswith("--preset="):
            return arg.partition("=")[2]
        if arg == "--preset":
            return args[index + 1] if index + 1 < len(args) else None
    return None


def _has_flag(args: Sequence[str], flag: str) -> bool:
    return any(arg == flag or arg.startswith(f"{flag}=") for arg in args)


def _plain_switches(args: Sequence[str], fields: Mapping[str, Field]) -> list[str]:
    """Write ``--x`` and ``--no-x`` of a Boolean flag as ``--x True`` and ``--x False``."""
    switches = {name.replace("_", "-") for name, field in fields.items() if is_bool(field.hint)}
    plain: list[str] = []
    for index, arg in enumerate(args):
        name = arg.removeprefix("--").replace("_", "-")
        if arg.startswith("--no-") and name.removeprefix("no-") in switches:
            plain += [f"--{name.removeprefix('no-')}", "False"]
        elif arg.startswith("--") and name in switches and (index + 1 == len(args) or args[index + 1][:2] == "--"):
            plain += [arg, "True"]
        else:
            plain.append(arg)
    return plain


@functools.cache
def _command(family: Family, preset: str) -> type:
    """Make the class of the command line of a family, with the values of a preset as defaults."""
    base = find_preset(family, preset)
    by_path = {field.path: field for field in fields_of(type(base)).values()}
    presets = "; ".join(f"{name}: {text}" for name, (text, _) in family.described_presets().items())

    def help_arg(text: str, metavar: str) -> Any:
        return tyro.conf.arg(help=text, metavar=metavar)

    sweep = [
        ("preset", Annotated[str, help_arg(f"The preset that every cell is based on. {presets}", "PRESET")], ""),
        ("seeds", Annotated[int, help_arg("Number of seeds of every setting, counted from 0.", "INT")], 1),
        (
            "zip",
            Annotated[
                tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
                help_arg(
                    "Fields whose values are paired and not crossed, for example: num-glimpses sigma.", "FIELD .."
                ),
            ],
            (),
        ),
        ("name", Annotated[str | None, help_arg("NAME of the default folder.", "TEXT")], None),
    ]
    study = _dataclass("StudyFlags", "Preset, seeds and pairs of fields of the sweep.", sweep)
    axes = _axes_class(type(base), base, by_path, ())
    parts = [("study", study, study()), ("axes", axes, axes()), ("options", Options, Options())]
    description = (
        f"Sweep fields of the configuration of {family.name}. One value of a flag holds for all cells; several values "
        "are an axis. Every combination of the axes runs with every seed. Each flag shows its units and, as its "
        "default, the preset's value."
    )
    return _dataclass("Ablation", description, parts)


def _axes_class(cls: type, base: Any, by_path: dict[tuple[str, ...], Field], path: tuple[str, ...]) -> type:
    """Make a class like that of a configuration, whose fields each take several values as text."""
    parts: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        place = (*path, field.name)
        if place in by_path:
            flag = by_path[place]
            kind = Annotated[tuple[str, ...], tyro.conf.arg(help=flag.help, metavar=f"{_metavar(flag.hint)} ..")]
            parts.append((field.name, kind, (str(get(base, place)),)))
        elif any(other[: len(place)] == place for other in by_path):
            nested = _axes_class(typing.cast(type, type(get(base, place))), base, by_path, place)
            parts.append((field.name, nested, nested()))
    return _dataclass(cls.__name__, " ".join((cls.__doc__ or "").split()), parts)


def _metavar(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "{" + ",".join(map(str, typing.get_args(hint))) + "}"
    names = [getattr(part, "__name__", "TEXT") for part in typing.get_args(hint) or (hint,)]
    return "|".join({"str": "TEXT", "NoneType": "None", "bool": "True|False"}.get(n, n.upper()) for n in names)


def _dataclass(name: str, doc: str, parts: Sequence[tuple[str, Any, Any]]) -> type:
    made = dataclasses.make_dataclass(
        name, [(n, kind, dataclasses.field(default=value)) for n, kind, value in parts], frozen=True
    )
    made.__doc__ = doc
    return made

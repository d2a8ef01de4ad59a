"""The pages of `results/`: the tables of the papers beside our results, and what was tried.

``python -m experiments.reports.results_pages [FOLDER]`` writes them, for the folder ``results`` by default.

Each folder has a template `page.md.jinja` with the prose, and the folder of a paper a `paper.toml` with its numbers.
Templates quote stored runs by functions of `Page`, so no number of ours is typed twice. The differences of stored
sweeps are computed from their `results.csv`.
"""

import json
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from experiments.cli.command_line import fail, user_errors
from experiments.output.files import write_bytes
from experiments.output.readouts import READOUTS, readout_name
from experiments.output.text import interval_text
from experiments.reports.result_cells import (
    MANY_SEEDS,
    error_cells,
    interquartile_cell,
    markdown_table,
    model_name,
    number_text,
    prediction_cells,
    readout_cells,
    run_cells,
    seeds_cell,
)
from experiments.reports.stored_runs import (
    Group,
    command,
    deviation,
    measure,
    minutes,
    planned_images,
    read_groups,
    trained_as,
    training_images,
)
from experiments.sweeps.outcomes import DIFFERENCES, RESULTS, csv_text
from experiments.sweeps.report import difference_rows
from experiments.sweeps.statistics import mean_interval, paired_differences
from experiments.sweeps.stored import read_sweep

TEMPLATE, PAGE, PAPER, INDEX = "page.md.jinja", "README.md", "paper.toml", "index.json"
# Columns of errors. A network that samples nothing has a single pass, beside the greedy episode of an agent.
GREEDY, MEAN = "greedy / single pass", readout_name("average_probability", 10)
IQM = "interquartile mean over seeds"


class Page:
    """The functions that a page's template calls; runs are named `ram_28`, or `mnih2014/ram_28` from elsewhere."""

    def __init__(self, root: Path, folder: str, groups: Mapping[str, Group], papers: Mapping[str, Mapping[str, Any]]):
        self.root, self.folder, self.groups, self.papers = root, folder, groups, papers

    def group(self, name: str) -> Group:
        """Return a group of runs.

        Raises:
          ValueError: no file has that name.
        """
        path = name if "/" in name else f"{self.folder}/{name}"
        if path not in self.groups:
            raise ValueError(f"results/{self.folder}/{TEMPLATE} names {name!r}, but there is no results/{path}.json")
        return self.groups[path]

    def error(self, name: str, readout: str = "average_probability", split: str = "test") -> str:
        """Return the error of a group with its interval, such as "0.83 [0.67, 1.03]"."""
        return str(measure(self.group(name), readout, split))

    def value(self, name: str, readout: str = "average_probability", split: str = "test") -> str:
        """Return the error of a group without its interval, to two digits."""
        return f"{measure(self.group(name), readout, split).value:.2f}"

    def stored(self, name: str) -> Any:
        """Return what a JSON file holds, named from the folder of results, to quote numbers of studies."""
        return json.loads((self.root / name).read_text())

    def interval(self, entry: Mapping[str, float]) -> str:
        """Return an error of a JSON file with its interval, such as "0.83 [0.67, 1.03]"."""
        return interval_text(entry["error"], entry["low"], entry["high"])

    def command(self, name: str) -> str:
        """Return the command of a group's first run."""
        return command(self.group(name).runs[0])

    def paper_table(self, name: str) -> str:
        """Return a table of the paper as Markdown, row by row, with our errors beside the paper's.

        The interquartile mean has a column if a row has `MANY_SEEDS` or more.

        Args:
          name: of the table in the folder's `paper.toml`.
        """
        table = self.papers[self.folder]["tables"][name]
        rows = table["rows"]
        groups = [self._row_group(self.folder, row) for row in rows]
        samples = any("sampled" in group.runs[0]["test"] for group in groups if group)
        ours = (GREEDY, "one episode", MEAN) if samples else ("ours",)
        many = any(len(group.runs) >= MANY_SEEDS for group in groups if group)
        header = ["model", "published", *ours, "sd over seeds", *[IQM] * many, "seeds"]
        lines = []
        for row, group in zip(rows, groups, strict=True):
            cells = [model_name(row, group), number_text(row.get("paper"))]
            if group:
                errors = dict(zip((GREEDY, "one episode", MEAN), error_cells(table, row, group), strict=True))
                cells += [errors.get(name, errors[GREEDY]) for name in ours]
                spread = deviation(group)
                cells += [
                    "" if spread is None else f"{spread:.2f}",
                    *[interquartile_cell(group)] * many,
                    seeds_cell(group),
                ]
            lines.append(cells)
        return markdown_table(header, lines)

    def cost_table(self, name: str) -> str:
        """Return what the rows of a table of the paper cost as Markdown: a prediction, and the training.

        A row that was not run has the training images that it would take, and its command.

        Args:
          name: of the table in the folder's `paper.toml`.
        """
        lines = []
        for row in self.papers[self.folder]["tables"][name]["rows"]:
            group = self._row_group(self.folder, row)
            if group:
                images = self._images(f"{self.folder}/{row['run']}")
                training = [images, f"{minutes(group):.0f}", f"`{command(group.runs[0])}`"]
                lines.append([row["model"], *prediction_cells(group), *training])
            elif "command" in row:
                images = planned_images(row["command"])
                training = [images, "", f"not run: `python -m experiments.{row['command']}`"]
                lines.append([row["model"], "", "", "", "", *training])
        header = ["values read", "of the image", "multiply-adds", "parameters", "training images", "minutes", "command"]
        return markdown_table(["model", *header], lines)

    def tried(self, *names: str | tuple[str, str], readout: str = "average_probability") -> str:
        """Return a table of runs as Markdown, to compare what was tried.

        Args:
          *names: of groups; pairs are a group and words for its row, instead of its command.
          readout: of the errors.
        """
        rows = []
        for each in names:
            name, words = each if isinstance(each, tuple) else (each, "")
            group = self.group(name)
            error, validation = measure(group, readout), measure(group, readout, "validation")
            what = words or f"`{command(group.runs[0])}`"
            images = self._images(name if "/" in name else f"{self.folder}/{name}")
            numbers = [f"{validation.value:.2f}", images, f"{minutes(group):.0f}"]
            rows.append([what, str(error), error.readout, *numbers, self._link(name)])
        number = "test, boxes found" if readout == "found" else "test error"
        return markdown_table(["run", number, "read-out", "validation", "images", "minutes", "file"], rows)

    def every_run(self) -> str:
        """Return a table of every run of the folder as Markdown: its command, its read-outs and its origin."""
        groups = {name: group for name, group in self.groups.items() if name.startswith(f"{self.folder}/")}
        plays = any("sampled" in group.runs[0]["test"] for group in groups.values())
        readouts = {key: name for key, name in READOUTS.items() if plays or key == "greedy"} | {"greedy": GREEDY}
        header = ["file", "command", *(readouts.values() if plays else ["test error"]), "validation", "images"]
        header += ["parameters", "minutes, device", "seed", "commit"]
        rows = []
        for path, group in groups.items():
            for run, file in zip(group.runs, group.files, strict=True):
                facts = run_cells(run, self._images(path))
                rows.append([f"[{file}]({file}.json)", f"`{command(run)}`", *readout_cells(run, readouts), *facts])
        return markdown_table(header, rows)

    def _row_group(self, folder: str, row: Mapping[str, Any]) -> Group | None:
        """Return the runs of a row of a paper's table; None if it has none yet, which only a row with a command may."""
        path = f"{folder}/{row.get('run')}"
        if "run" not in row or ("command" in row and path not in self.groups):
            return None
        return self.group(path)

    def _images(self, path: str) -> str:
        """Return the training images of a run as "5.12 M", or "5.12 + 5.12 M" if it has a warm start.

        Args:
          path: of a group, with its folder. A run records the images before its warm start; for older runs,
            `started_from` in the folder's `paper.toml` names the other run.
        """
        folder, _, name = path.rpartition("/")
        run, start = self.group(path).runs[0], self.papers.get(folder, {}).get("started_from", {}).get(name)
        counts, record = [training_images(run)], run.get("starts", [{}])[0].get("warm_start")
        if record:
            counts.insert(0, record["training_images"])
        elif start:
            counts.insert(0, training_images(self.group(f"{folder}/{start}").runs[0]))
        return " + ".join(f"{count / 1e6:.2f}" for count in counts) + " M"

    def _link(self, name: str) -> str:
        """Return a link to a group's first file, from the page's folder."""
        file = self.group(name).files[0]
        other = name.rpartition("/")[0]
        up = "../" * (self.folder.count("/") + 1) + f"{other}/" if other and other != self.folder else ""
        return f"[{file}]({up}{file}.json)"

    def sweep_table(self, *readouts: str) -> str:
        """Return the settings of the sweep in the page's folder as Markdown.

        The mean of each read-out has its 95% interval over seeds; the last column has the errors of the seeds.

        Args:
          *readouts: at least one; the seeds are those of the last.
        """
        sweep = read_sweep(self.root / self.folder)
        rows = []
        for setting in sweep.settings:
            seeds = [list(setting.by_seed(readout=readout).values()) for readout in readouts]
            means = [str(mean_interval(values)) for values in seeds]
            rows.append([*setting.values, *means, ", ".join(f"{value:.2f}" for value in seeds[-1])])
        names = [readout_name(readout, 10) for readout in readouts]
        return markdown_table([*sweep.names, *names, f"{names[-1]}, by seed"], rows)

    def headline(self) -> str:
        """Return the rows that the papers' tables mark as headlines, as Markdown."""
        return self._summary(lambda row, errors: row.get("headline", False))

    def not_reached(self) -> str:
        """Return the rows in which no read-out of ours reaches the published number, as Markdown."""
        return self._summary(lambda row, errors: any(errors) and "**" not in "".join(errors))

    def _summary(self, chosen: Callable[[Mapping[str, Any], Sequence[str]], bool]) -> str:
        """Return the rows of all papers that `chosen` keeps, by the row and its errors, as Markdown."""
        rows = []
        for folder, paper in self.papers.items():
            for table in paper.get("tables", {}).values():
                for row in table["rows"]:
                    group = self._row_group(folder, row)
                    greedy, _, mean = error_cells(table, row, group) if group else ("", "", "")
                    if chosen(row, (greedy, mean)):
                        link = f"[{paper['short']}]({folder}/{PAGE})"
                        cells = [
                            link,
                            table["title"],
                            model_name(row, group),
                            number_text(row.get("paper")),
                            greedy,
                            mean,
                        ]
                        rows.append([*cells, seeds_cell(group) if group else ""])
        return markdown_table(["paper", "task", "model", "published", GREEDY, MEAN, "seeds"], rows)


def render_pages(root: Path) -> dict[Path, str]:
    """Return the texts of every generated file below a folder of results, by path.

    Raises:
      ValueError: a file of results is damaged, or a template names a run that there is not.
    """
    papers = {path.parent.name: tomllib.loads(path.read_text()) for path in root.glob(f"*/{PAPER}")}
    papers = dict(sorted(papers.items(), key=lambda item: item[1]["order"]))
    groups: dict[str, Group] = {}
    for folder in papers:
        groups |= {f"{folder}/{name}": group for name, group in read_groups(root / folder).items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(root),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of the repository's own files.
    )
    texts = {}
    for template in sorted(root.rglob(TEMPLATE)):
        folder = template.parent.relative_to(root).as_posix()
        page = Page(root, folder, groups, papers)
        names = [name for name in dir(page) if not name.startswith("_") and callable(getattr(page, name))]
        context = {name: getattr(page, name) for name in names}
        text = environment.get_template(template.relative_to(root).as_posix()).render(context)
        texts[template.with_name(PAGE)] = text
    for table in sorted(root.rglob(RESULTS)):
        sweep = read_sweep(table.parent)
        texts[table.with_name(DIFFERENCES)] = csv_text(
            difference_rows(sweep.labels, paired_differences(sweep.settings))
        )
    return texts | {root / INDEX: index_text(groups)}


def write_pages(root: Path) -> list[Path]:
    """Write every generated file below a folder of results, and return their paths."""
    return [write_bytes(path, text.encode()) for path, text in render_pages(root).items()]


def index_text(groups: Mapping[str, Group]) -> str:
    """Return `index.json`, which `experiments.output.results_lookup` reads: one group of runs a line."""
    lines = []
    for name, group in groups.items():
        run = group.runs[0]
        found = "overlap" in run
        ours = measure(group, "found" if found else "average_probability")
        error, low, high = (100 - ours.value, 100 - ours.high, 100 - ours.low) if found else ours[:3]
        preset, flags = trained_as(run)
        entry = {
            "name": name,
            "family": run["family"],
            "preset": preset,
            "is_preset": not flags,
            "error": round(error, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "readout": "boxes not found" if found else ours.readout,
            "validation": round(measure(group, split="validation").value, 4),
            "minutes": round(minutes(group), 1),
            "device": run["device"],
            "seeds": [each["seed"] for each in group.runs],
        }
        lines.append(json.dumps(entry))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    if any(arg in ("-h", "--help") for arg in args):
        print((__doc__ or "").strip())
        return
    for arg in args:
        if arg.startswith("-"):
            fail(f"unknown flag {arg!r}: there is only --help")
    if len(args) > 1:
        fail(f"{len(args)} folders given, {shlex.join(args)}: give one")
    root = Path(args[0] if args else "results")
    if not root.is_dir():
        fail(f"{str(root)!r} is no folder: give the folder of results")
    with user_errors():
        for path in write_pages(root):
            print(path)


if __name__ == "__main__":
    main()

"""Edits of a run's JSON files as an older or another run would have written them, with a digest that fits."""

import json

from experiments.output.json_files import unsealed, write_sealed


def edit_json(path, old, new):
    """Replace a text in a sealed file, and seal it anew."""
    content = json.dumps(unsealed(json.loads(path.read_text())))
    assert old in content
    write_sealed(path, json.loads(content.replace(old, new)))

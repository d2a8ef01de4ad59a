"""Trained agents: exported files, looks at images of any size, and the commands around them."""

import io
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from PIL import Image

from common.training.evaluation import predicted
from experiments import cnn, evaluate, export, look, ram
from experiments.runs import trained_agents
from experiments.runs.restore import read_run, read_run_without_images
from experiments.runs.trained_agents import FACTS, load_agent, pretrained_names, read_picture, save_agent
from experiments.training.config import load_evaluation_images
from tests.experiments import numbers_maker
from tests.experiments.edited_json import edit_json

LOOP = "--steps 4 --batch-size 8 --log-every 2 --evaluate-every 1 --validation-episodes 1 --eval-episodes 2 --no-plots"
RAM = (
    "images --data images.npz --glimpse-size 4 --num-scales 2 --num-glimpses 3 --core rnn --core-hidden 8"
    f" --glimpse-hidden 8 --location-hidden 8 --glimpse-features 8 {LOOP} --run-dir ram"
).split()
CNN = f"mnist28 --task images --data images.npz --network fc --units 4 {LOOP} --run-dir cnn".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with a run on colour images of 20 x 16 pixels, which are gone, and an exported file."""
    path = tmp_path_factory.mktemp("runs")
    labels = np.arange(90) % 3
    images = np.random.default_rng(0).integers(0, 255, (90, 20, 16, 3), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(path)
        np.savez("images.npz", images=images, labels=labels)
        ram.main(RAM)
        cnn.main(CNN)
        run = read_run(path / "ram")
        np.savez("kept.npz", images=run.dataset.test.images, key=np.zeros(0))
        (path / "images.npz").rename("moved.npz")
        export.main(["ram", "agent.npz", "--dtype", "float32"])
    return path


@pytest.fixture
def here(folder, monkeypatch):
    """Make that folder the current one."""
    monkeypatch.chdir(folder)
    return folder


def test_a_look_is_the_greedy_episode(here):
    agent = load_agent("ram")
    images = np.load("kept.npz")["images"]
    play = jax.jit(agent.attention.play, static_argnums=3)
    episode = play(agent.params, jax.random.key(0), jnp.asarray(images), "greedy")
    for i, image in enumerate(images[:3]):
        seen = agent.look(image)
        np.testing.assert_array_equal(seen.image, image)
        np.testing.assert_allclose(seen.locations, episode.locations[:, i], atol=1e-5)
        np.testing.assert_allclose(seen.probabilities, jax.nn.softmax(episode.logits)[:, i], atol=1e-5)
        assert seen.predicted == str(episode.logits[-1, i].argmax())
        # The boxes of both scales lie around the location.
        middle = (seen.boxes[..., :2] + seen.boxes[..., 2:]) / 2
        where = (seen.locations + 1) / 2 * [16, 20]
        assert np.abs(middle - where[:, None]).max() <= 1 and seen.boxes.shape == (3, 2, 4)
    assert len(repr(agent)) < 200 and "'images'" in repr(agent)
    mean = agent.look(images[0], episodes=5)
    np.testing.assert_allclose(mean.probabilities.sum(axis=-1), 1, rtol=1e-5)
    assert np.abs(mean.probabilities - agent.look(images[0]).probabilities).max() > 1e-6


def test_an_exported_agent_is_that_of_the_run(here):
    image = np.load("kept.npz")["images"][0]
    looks = [load_agent(name).look(image) for name in ("ram", "agent.npz")]
    for one, other in zip(*looks, strict=True):
        np.testing.assert_array_equal(one, other)
    results = json.loads((here / "ram" / "results.json").read_text())
    assert load_agent("agent.npz").results["test"] == results["test"]
    export.main(["ram", "half.npz"])
    half = load_agent("half.npz").look(image)
    np.testing.assert_allclose(half.probabilities, looks[0].probabilities, atol=2e-3)
    with np.load("half.npz", allow_pickle=False) as file:
        assert {file[name].dtype for name in file if name != FACTS} == {np.dtype(np.float16)}


def test_an_exported_agent_is_evaluated_like_its_run(here, capsys):
    Path("moved.npz").rename("images.npz")
    try:
        for name in ("ram", "agent.npz"):
            evaluate.main([name, "--output", f"{name[:3]}.json"])
    finally:
        Path("images.npz").rename("moved.npz")
    run, agent = (json.loads(Path(f"{name}.json").read_text()) for name in ("ram", "age"))
    assert run["test"] == agent["test"] and run["after_step"] == agent["after_step"]
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["agent.npz", "--last"])
    assert "'agent.npz' is one set of parameters and no run" in capsys.readouterr().err
    other = np.load("moved.npz")
    np.savez("images.npz", images=255 - other["images"], labels=other["labels"])
    try:
        with pytest.raises(SystemExit, match="2"):
            evaluate.main(["agent.npz"])
    finally:
        Path("images.npz").unlink()
    assert "'agent.npz': its validation or test images were other ones" in capsys.readouterr().err


def test_a_file_that_is_damaged_or_needs_code_of_others_is_refused(here, tmp_path):
    whole = (here / "agent.npz").read_bytes()
    arrays = dict(np.load(here / "agent.npz"))
    facts = json.loads(arrays[FACTS].tobytes())

    def with_facts(value):
        buffer = io.BytesIO()
        np.savez(buffer, **arrays | {FACTS: np.frombuffer(json.dumps(value).encode(), np.uint8)})
        return buffer.getvalue()

    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    other = io.BytesIO()
    np.savez(other, images=np.zeros(3))
    cnn_facts = json.loads((here / "cnn" / "config.json").read_text())
    Path("evil.py").write_text("raise SystemExit('executed')")
    for content, said in [
        (whole[:-40], ""),
        (b"", ""),
        (buffer.getvalue(), ""),
        (other.getvalue(), "it is no file of experiments.export"),
        (with_facts([1]), ""),
        (with_facts({"family": "ram"}), "config"),
        (with_facts(facts | {"family": "cnn", "config": cnn_facts["config"]}), "the family cnn chooses no locations"),
        (with_facts(facts | {"family": "evil:FAMILY"}), "it needs evil:FAMILY"),
    ]:
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match=f"bad.npz' holds no trained agent: .*{said}"):
            load_agent(tmp_path / "bad.npz")


def test_a_run_that_was_extended_and_has_not_finished_is_not_exported(here, tmp_path, capsys):
    shutil.copytree("ram", tmp_path / "ram")
    edit_json(tmp_path / "ram" / "config.json", '"steps": 4', '"steps": 8')
    with pytest.raises(SystemExit, match="2"):
        export.main([str(tmp_path / "ram"), "b.npz"])
    assert "has not finished" in capsys.readouterr().err and not Path("b.npz").exists()


def test_pictures_of_any_size_are_read(here, tmp_path):
    agent = load_agent("agent.npz")
    array = np.random.default_rng(1).integers(0, 255, (33, 47, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    np.testing.assert_array_equal(agent.look(tmp_path / "a.png").image, agent.look(array).image)
    assert agent.look(array).image.shape == (20, 16, 3)
    gray = array[..., 0]
    for other in (gray / 255, gray[..., None], (gray / 255).astype(np.float32)):
        np.testing.assert_array_equal(read_picture(gray, (20, 16, 3)), read_picture(other, (20, 16, 3)))
    assert read_picture(array, (9, 9, 1)).shape == (9, 9, 1)
    # What is added around an inverted picture is black too.
    inverted = read_picture(np.full((8, 4), 255, np.uint8), (8, 8, 1), invert=True)
    assert inverted.max() == 0 and read_picture(np.zeros((8, 4), np.uint8), (8, 8, 1), invert=True)[:, 3].min() == 255


def test_pictures_are_read_as_in_training(tmp_path):
    """On black where they are transparent, 16-bit gray scaled, and upright."""
    Image.fromarray(np.zeros((8, 8, 4), np.uint8) + np.array([255, 255, 255, 0], np.uint8)).save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "clear.png", (8, 8, 1)).max() == 0
    Image.fromarray(np.full((8, 8), 20000, np.uint16)).save(tmp_path / "gray.png")
    assert (read_picture(tmp_path / "gray.png", (8, 8, 1)) == 78).all()
    ramp = Image.fromarray(np.repeat(np.arange(0, 240, 30, dtype=np.uint8)[:, None], 8, axis=1))
    exif = Image.Exif()
    exif[274] = 3  # Orientation: turned by 180 degrees.
    ramp.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert read_picture(tmp_path / "turned.jpg", (8, 8, 1))[0].mean() > 150


def test_an_agent_that_reads_sequences_names_its_symbols(readers, small_numbers):
    agent, end = load_agent(str(readers / "forward")), numbers_maker.SYMBOLS
    for image in numbers_maker.load_task("pairs100_sequence").test.images[:3]:
        seen = agent.look(image)
        symbols = np.asarray(predicted(jnp.log(seen.probabilities)[None]))[0]
        names = [agent.images.class_names[symbol] for symbol in symbols]
        assert seen.predicted == tuple(name for name in names if name != agent.images.class_names[-1])
    # Each sampled episode counts up to its own end symbol.
    votes = np.zeros((numbers_maker.MOST + 1, end + 1))
    for key in jax.random.split(jax.random.key(0), 2):
        episode = agent.attention.play(agent.params, key, jnp.asarray(seen.image)[None], "sampled")
        scores = np.asarray(episode.logits[:, 0], float)
        ended = np.cumsum(scores.argmax(-1) == end) - (scores.argmax(-1) == end) > 0
        votes += np.where(ended[:, None], 1 / (end + 1), scipy.special.softmax(scores, axis=-1)) / 2
    symbols = list(votes.argmax(-1))
    until = symbols.index(end) if end in symbols else len(symbols)
    names = tuple(agent.images.class_names[symbol] for symbol in symbols[:until])
    assert agent.look(image, episodes=2).predicted == names


@pytest.mark.parametrize(
    "image, said",
    [
        (np.zeros((2, 3, 4, 3), np.uint8), "image of shape (2, 3, 4, 3): must be [h, w], [h, w, 1] or [h, w, 3]"),
        (np.zeros((3, 4, 2), np.uint8), "image of shape (3, 4, 2): must be"),
        (np.full((3, 4), 7.0), "image of float64: must be uint8, or floating-point from 0 to 1"),
        (np.full((3, 4), np.nan), "image of float64: must be uint8, or floating-point from 0 to 1"),
        (np.zeros((3, 4), np.int32), "image of int32: must be uint8, or floating-point from 0 to 1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image, said):
    with pytest.raises(ValueError) as error:
        read_picture(image, (8, 8, 1))
    assert said in str(error.value)


def test_the_command_prints_and_draws(here, capsys):
    Image.fromarray(np.zeros((8, 30), np.uint8)).save("a.png")
    Image.fromarray(np.full((40, 30), 200, np.uint8)).save("b.png")
    for name in ("out.png", "out.gif"):
        look.main(["agent.npz", "a.png", "b.png", "--output", name, "--episodes", "2"])
        first, second, last = capsys.readouterr().out.splitlines()
        assert first.startswith("a.png: ") and first.endswith("%)") and second.startswith("b.png: ")
        assert last == f"picture: {name}"
    with Image.open("out.gif") as animation:
        assert animation.n_frames == 3


@pytest.mark.parametrize(
    "command, args, said",
    [
        (look, "nobody a.png", "unknown agent 'nobody'"),
        (look, "cnn a.png", "run 'cnn': its model chooses no locations"),
        (look, "agent.npz", "no images given"),
        (look, "agent.npz missing.png", "no picture at 'missing.png'"),
        (look, "agent.npz kept.npz", "'kept.npz' is not a readable PNG or JPEG image"),
        (look, "kept.npz a.png", "'kept.npz' holds no trained agent"),
        (look, "agent.npz a.png --output a.pdf", "output 'a.pdf': must end in .png or .gif"),
        (look, "agent.npz a.png --episodes -1", "episodes -1: must be from 0 to 1000"),
        (export, "cnn b.npz", "run 'cnn': its model chooses no locations"),
        (export, "ram b.pickle", "output 'b.pickle': must end in .npz"),
        (export, "missing b.npz", "'missing' holds no config.json"),
    ],
)
def test_bad_input_is_one_line(here, capsys, command, args, said):
    Image.fromarray(np.zeros((8, 30), np.uint8)).save("a.png")
    with pytest.raises(SystemExit, match="2"):
        command.main(args.split())
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line and line.startswith("error: ")


def test_an_agent_that_needs_code_of_the_users_own_is_not_exported(here, tmp_path, monkeypatch):
    run = read_run_without_images(here / "ram")
    monkeypatch.setattr(trained_agents, "own_names", lambda family, config: ["my_core:Core"])
    with pytest.raises(ValueError, match="needs my_core:Core: a file holds no code"):
        save_agent(run, {}, tmp_path / "a.npz")


def test_a_parameter_too_large_for_half_precision_is_refused(here, tmp_path):
    run = read_run_without_images(here / "ram")
    huge = jax.tree.map(lambda leaf: leaf + 1e6, run.state.best_params)
    run = run._replace(state=run.state._replace(best_params=huge))
    with pytest.raises(ValueError, match="a parameter is too large for float16; give float32"):
        save_agent(run, {"preset": "images", "starts": [{"images": "0"}]}, tmp_path / "a.npz")


def test_kept_agents_are_found_by_name(here, tmp_path, monkeypatch):
    monkeypatch.setattr(trained_agents, "FOLDER", tmp_path)
    assert pretrained_names() == ()
    with pytest.raises(
        ValueError, match="unknown agent 'second': give a run directory or a file of experiments.export"
    ):
        load_agent("second")
    for name in ("second", "first"):
        shutil.copy("agent.npz", tmp_path / f"{name}.npz")
    assert pretrained_names() == ("first", "second") and load_agent("second").name == "second"
    assert trained_agents.is_file("second")
    # A run directory of that name comes first.
    shutil.copytree("ram", "second")
    assert not trained_agents.is_file("second") and load_agent("second").images_digest is None
    shutil.rmtree("second")


@pytest.mark.parametrize("name", pretrained_names())
def test_a_kept_agent_errs_as_often_as_its_run(name):
    """On the first thousand test images. One agent in a thousand would leave the interval by chance."""
    agent = load_agent(name)
    test = load_evaluation_images(agent.experiment.data).test
    images, labels = (np.asarray(array[:1000]) for array in test)
    predict = jax.jit(lambda images: agent.attention.model.predict(agent.params, jax.random.key(0), images, "greedy"))
    classes = np.concatenate([predicted(predict(jnp.asarray(batch))) for batch in np.split(images, 5)])
    errors = (classes != labels).reshape(1000, -1).any(-1).sum()
    low, high = scipy.stats.binom.interval(0.999, 1000, agent.results["test"]["greedy"]["error"] / 100)
    assert low <= errors <= high


def test_kept_agents_are_small():
    assert sum(path.stat().st_size for path in trained_agents.FOLDER.glob("*.npz")) <= 15e6


def test_the_ending_of_a_file_may_be_in_capitals(here):
    Path("AGENT.NPZ").write_bytes(Path("agent.npz").read_bytes())
    assert trained_agents.is_file("AGENT.NPZ") and load_agent("AGENT.NPZ").name == "AGENT"

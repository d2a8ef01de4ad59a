"""The command lines that `tests/guard_rail.py` records, by name, all on small images and for a few steps.

A word of a line that is the name of another run is the folder of that run, which is then trained before.
"""

from pathlib import Path

import numpy as np

LOOP = (
    "--steps 4 --batch-size 8 --log-every 1 --evaluate-every 2 --validation-episodes 2 --eval-episodes 2"
    " --eval-batch-size 50 --seed 5"
)
PLAIN = f"{LOOP} --no-plots"
IMAGES, DIGITS = "--task images --data images.npz", "--data digits.npz"
SMALL_RAM = (
    "--glimpse-size 4 --num-scales 2 --num-glimpses 3 --core-hidden 16 --what-hidden 8 --where-hidden 8"
    " --glimpse-features 16 --sigma 3px --sigma-final 1px"
)
CANVAS = (
    f"cluttered60_dense --task augmented100 {DIGITS} --num-scales 4 --what-hidden 256 --sigma 25px --sigma-final 4px"
)
RAM = f"cluttered60_dense {IMAGES} {SMALL_RAM} {PLAIN} --core rnn"
READER = (
    f"pairs100_sequence {DIGITS} --glimpse-network dense --glimpse-size 4 --num-scales 2 --glimpses-per-target 2"
    " --core rnn --lower-hidden 9 --upper-hidden 7 --glimpse-features 8 --context-size 8 --context-channels 3"
    " --unit-width 20px --mean-activation linear --sigma 20px --sigma-final 5px --optimizer adam"
)
SMALL_STN = f"{IMAGES} --resize 28 --units 3 --localisation-units 4"
FEW = "--network fc --units 4 --steps 2 --batch-size 8 --log-every 1 --evaluate-every 2 --eval-batch-size 1000 --seed 5"
TASK = f"{FEW} --no-plots"

# Runs by name: the command and its line; the name is the folder, too.
RUNS = {
    "ram_canvas": ("ram", f"{CANVAS} {PLAIN} --num-glimpses 3 --core-hidden 32 --shift 2"),
    "ram_ppo": (
        "ram",
        f"{RAM} --surrogate ppo_clip --passes 2 --minibatches 2 --max-kl 0.5 --normalise-advantages --core gru",
    ),
    "ram_antithetic": ("ram", f"{RAM} --replicates 4 --antithetic --reward signed --start uniform --discount 1"),
    "ram_moving_average": (
        "ram",
        f"cluttered60_dense {IMAGES} {SMALL_RAM} {LOOP} --core rnn --advantage moving_average --average-decay 0.5"
        " --reward correct --policy-weight 1 --classify-at last",
    ),
    "ram_leave_one_out": (
        "ram",
        f"{RAM} --advantage leave_one_out --replicates 4 --reward log_probability --optimizer sgd --nesterov"
        " --schedule exponential --warmup-steps 1 --weight-decay 0.01",
    ),
    "ram_multi_sample": (
        "ram",
        f"{RAM} --surrogate multi_sample --advantage vimco --reward log_probability --discount 1 --replicates 3",
    ),
    "ram_pathwise": (
        "ram",
        f"{RAM} --surrogate pathwise --advantage plain_return --reward clipped_linear --discount 1 --locator-hidden 6",
    ),
    "ram_learned_sigma": (
        "ram",
        f"{RAM} --learned-sigma state --entropy-weight 0.1 --advantage gae --mean-activation hard_tanh",
    ),
    "ram_transformer": (
        "ram",
        f"{RAM} --core transformer --core-heads 2 --locator-gradient head --reward own_parts:reward --combine multiply"
        " --learned-sigma global --subtract-mean",
    ),
    "ram_random": ("ram", f"{RAM} --policy random --sigma-schedule linear --core lstm --schedule step"),
    "dram_set": (
        "dram",
        f"pairs100 {DIGITS} {PLAIN} --conv-channels 2 --glimpse-features 8 --lower-hidden 9 --upper-hidden 7"
        " --context-channels 2 --glimpses-per-target 2",
    ),
    "dram_sequence": ("dram", f"{READER} {LOOP} --replicates 2"),
    "dram_backward": ("dram", f"{READER} {PLAIN} --reverse --glimpse-network-from dram_sequence --weight-decay 0.1"),
    "dram_further": ("dram", f"{READER} {PLAIN} --parameters-from dram_sequence --no-stop-at-wrong --optimizer muon"),
    "dram_sum": (
        "dram",
        f"addition100 {DIGITS} {PLAIN} --no-context --no-two-layers --core gru --glimpse-network dense --combine add"
        " --glimpse-features 8 --lower-hidden 9 --glimpses-per-target 2",
    ),
    "dram_numbers": (
        "dram",
        f"house_numbers_32 --num-images 200 {PLAIN} --eval-batch-size 500 --conv-channels 2 --glimpse-features 8"
        " --lower-hidden 9 --upper-hidden 7 --context-channels 2 --stop-gradient",
    ),
    "stn_dense": ("stn", f"RTS_st_fcn {IMAGES} {LOOP} --units 8 --localisation-units 4 --downsample 1"),
    "stn_affine": ("stn", f"R {SMALL_STN} {PLAIN} --localisation-filters 2 --localisation-rate 0.1"),
    "stn_tps": (
        "stn",
        f"E_tps {SMALL_STN} {PLAIN} --localisation-filters 2 --regularisation 0.1 --control-points 3 --dropout 0.2",
    ),
    "stn_several": (
        "stn",
        f"RTS_st_fcn {SMALL_STN} {PLAIN} --transform rotated_attention --parallel 2 --sequence 2 --pooling max"
        " --padding border --label-smoothing 0.1 --optimizer muon --input-mean 0.1 --input-std 0.5",
    ),
    "stn_multi": (
        "stn",
        f"house_numbers_32 {IMAGES} {PLAIN} --resize 32 --width 0.03 --localisation-units 3 --localisation-filters 2",
    ),
    "stn_further": (
        "stn",
        f"RTS_st_fcn {IMAGES} {PLAIN} --units 8 --localisation-units 4 --downsample 1 --parameters-from stn_dense",
    ),
    "soft_filter_bank": (
        "soft_attention",
        f"cluttered60 {DIGITS} {LOOP} --num-glimpses 2 --conv-channels 2 --units 8 --core-hidden 8",
    ),
    "soft_dense": (
        "soft_attention",
        f"cluttered60 {IMAGES} {PLAIN} --num-glimpses 2 --glimpse-network dense --units 8 --core-hidden 8 --core"
        " transformer --no-relative-sigma --classify-at last --window-clip 0 --glimpse-size 4",
    ),
    "soft_additive": ("soft_attention", f"cluttered60_additive {IMAGES} {PLAIN} --filters 2 --layers 2 --hidden 8"),
    "soft_dot_product": (
        "soft_attention",
        f"cluttered60_dot_product {IMAGES} {PLAIN} --filters 2 --layers 2 --hidden 8 --heads 2 --size 4",
    ),
    "found": ("colocalisation", f"T84 {DIGITS} {LOOP} --crop 22 --filters 2 --encoder-from digit_encoder"),
    "digit_encoder": ("stn", f"mnist28_cnn --task images {DIGITS} {PLAIN} --steps 2 --resize 22"),
    "found_further": (
        "colocalisation",
        f"TC84 {DIGITS} {PLAIN} --crop 22 --filters 2 --transform attention --parameters-from found_scaled",
    ),
    "found_scaled": (
        "colocalisation",
        f"T84 {DIGITS} {PLAIN} --crop 22 --filters 2 --transform attention --encoder-from digit_encoder",
    ),
    "cnn_paper": ("cnn", f"mnist28 {IMAGES} {LOOP} --units 8"),
    "cnn_article": (
        "cnn",
        f"images --data colours.npz {PLAIN} --shift 1 --rotation 20 --zoom 0.1 --mirror 0.5 --brightness 0.1"
        " --contrast 0.1 --saturation 0.2 --blur 0.5 --noise 0.05 --cutout 2",
    ),
    "cnn_lengths": (
        "cnn",
        f"house_numbers_32 --num-images 200 {PLAIN} --eval-batch-size 500 --width 0.03 --heads length",
    ),
    # Those on real images record the digest of all validation and test images; the loss is that of training batches.
    "task_translated60": ("cnn", f"translated60 {TASK}"),
    "task_cluttered60": ("cnn", f"cluttered60 {TASK}"),
    "task_R": ("cnn", f"mnist28 --task distorted/R {TASK}"),
    "task_E": ("cnn", f"mnist28 --task distorted/E {TASK}"),
    "task_pairs100": ("cnn", f"pairs100 {TASK}"),
    "task_T84": ("cnn", f"mnist28 --task T84 {TASK}"),
    "task_addition42": ("cnn", f"mnist28 --task two_channel_addition42 {TASK}"),
    "task_house_numbers": ("cnn", f"house_numbers_32 --num-images 200 --reverse {TASK}"),
}

# Runs whose last checkpoint is taken away, and that then go on with --resume.
RESUMED = {"resumed_memory": "ram_moving_average", "resumed_muon": "dram_further", "resumed_finder": "found"}

# What reads runs: the numbers that it prints, and those that it writes into a file.
READERS = {
    "evaluate": ("evaluate", "ram_moving_average --output again.json"),
    "evaluate_last": ("evaluate", "ram_moving_average --last --episodes 3 --batch-size 7 --output again.json"),
    "evaluate_finder": ("evaluate", "found --output again.json"),
    "forward_backward": ("forward_backward", "dram_sequence dram_backward --output again.json"),
    "focus": ("focus", "dram_numbers --output again.json"),
    "dry_sweep": ("ablate", "cnn --preset mnist28 --units 4 8 --momentum 0.5 0.6 --zip units momentum --dry-run"),
}

# Some of each kind, which take a few minutes.
QUICK = [
    *("ram_ppo", "ram_moving_average", "ram_learned_sigma", "ram_transformer", "dram_sequence", "stn_dense", "stn_tps"),
    *("soft_filter_bank", "soft_dot_product", "found", "cnn_paper", "cnn_article", "task_R", "task_house_numbers"),
    *("resumed_memory", "evaluate", "evaluate_finder", "presets", "refused_by_ram", "refused_by_cnn"),
    "refused_by_ablate",
]

_BAD_RAM = f"{RAM} --run-dir bad"
_BAD_DRAM = f"{READER} {PLAIN} --run-dir bad"
_BAD_CNN = f"mnist28 {IMAGES} {PLAIN} --network fc --units 8 --run-dir bad"
_SOFT = f"{IMAGES} {PLAIN} --run-dir bad"
_FINDER = f"{DIGITS} {PLAIN} --run-dir bad"

# What must be refused: the command, the line before, and (what is added, the value that the error quotes).
BAD = [
    (
        "ram",
        _BAD_RAM,
        [
            ("--sigma abc", "'abc'"),
            ("--sigma -3px", "'-3px'"),
            ("--sigma-final 1e999px", "'1e999px'"),
            ("--sigma-schedule constant", "'constant'"),
            ("--seed 4294967296", "4294967296"),
            ("--steps 2147483648", "2147483648"),
            ("--steps 0", "0"),
            ("--warmup-steps 4", "4"),
            ("--learning-rate nan", "nan"),
            ("--learning-rate -1", "-1"),
            ("--decay 1.1", "1.1"),
            ("--discount 1.01", "1.01"),
            ("--gae-lambda -0.5", "-0.5"),
            ("--average-decay 1", "1.0"),
            ("--batch-size 121", "121"),
            ("--batch-size 1.5", "'1.5'"),
            ("--batch-size eight", "'eight'"),
            ("--glimpse-size 13", "13"),
            ("--num-scales 9", "9"),
            ("--growth 1", "1"),
            ("--num-glimpses -3", "-3"),
            ("--core transformer --core-heads 3", "3"),
            ("--core lstn", "'lstn'"),
            ("--optimizer adamw", "'adamw'"),
            ("--task cifar", "'cifar'"),
            ("--task pairs100_sequence --data digits.npz", "'pairs100_sequence'"),
            ("--reward corect", "'corect'"),
            ("--advantage gea", "'gea'"),
            ("--surrogate no.such:function", "'no.such:function'"),
            ("--reward math:pi", "'math:pi'"),
            ("--reward math:no_such", "'math:no_such'"),
            ("--advantage leave_one_out", "'leave_one_out'"),
            ("--antithetic --replicates 3", "3"),
            ("--surrogate pathwise --reward correct", "'pathwise'"),
            ("--surrogate ppo_clip --minibatches 3", "3"),
            ("--passes 2", "2"),
            ("--max-kl 0.25", "0.25"),
            ("--entropy-weight 0.5", "0.5"),
            ("--validation-fraction 0.5 --test-fraction 0.5", "1.0"),
            ("--data absent.npz", "absent.npz"),
            ("--data text.npz", "text.npz"),
            ("--nothing-like-it", "--nothing-like-it"),
            ("--core-hidden 1000000000", "1,000,000,000"),
            ("--run-dir file", "'file'"),
            ("--run-dir file/below", "'file/below'"),
            ("--run-dir full", "'full'"),
            ("--run-dir full --overwrite", "'full'"),
            ("--run-dir ram_moving_average", "'ram_moving_average'"),
            ("--run-dir ram_moving_average --resume", "'ram_moving_average'"),
            ("--resume", "'bad'"),
            ("--resume --overwrite", "--overwrite"),
        ],
    ),
    ("ram", "", [("", "quick"), ("quik", "'quik'"), ("--batch-size 3", "--batch-size")]),
    (
        "dram",
        _BAD_DRAM,
        [
            ("--glimpses-per-target 67", "67"),
            ("--context-size 101", "101"),
            ("--glimpse-network conv", "'conv'"),
            ("--unit-width -3px", "'-3px'"),
            ("--no-two-layers --stop-gradient", "True"),
            ("--reward log_probability", "'log_probability'"),
            ("--core transformer", "'transformer'"),
            ("--data images.npz", "0, 1, 2"),
            ("--parameters-from absent", "'absent'"),
            ("--parameters-from ram_moving_average", "'ram_moving_average'"),
            ("--parameters-from dram_sequence --lower-hidden 10", "'dram_sequence'"),
            ("--glimpse-network-from dram_sequence --parameters-from dram_sequence", "'dram_sequence'"),
            ("--glimpse-network-from dram_sequence --combine add", "add"),
            ("--no-freeze-glimpse-network", "False"),
        ],
    ),
    (
        "cnn",
        _BAD_CNN,
        [
            ("--units 0", "0"),
            ("--network paper_cnn --resize 9", "9x9"),
            ("--network resnet", "'resnet'"),
            ("--shift 12", "12"),
            ("--cutout 12", "12"),
            ("--rotation 181", "181.0"),
            ("--zoom 1", "1.0"),
            ("--mirror 1.5", "1.5"),
            ("--saturation 0.5", "0.5"),
            ("--blur 12", "12.0"),
            ("--noise -1", "-1.0"),
            ("--num-images 100", "100"),
            ("--resize 0", "0"),
            ("--grayscale perhaps", "'perhaps'"),
        ],
    ),
    (
        "stn",
        f"RTS_st_fcn {SMALL_STN} {PLAIN} --run-dir bad",
        [
            ("--downsample 0", "0"),
            ("--control-points 9", "9"),
            ("--place multi", "'multi'"),
            ("--parallel 9 --sequence 9", "9"),
            ("--background 2", "2.0"),
            ("--input-std 0", "0.0"),
            ("--transform shear", "'shear'"),
            ("--network cnn --resize 12", "6x6"),
            ("--parameters-from absent", "'absent'"),
        ],
    ),
    (
        "soft_attention",
        "",
        [
            (f"cluttered60 {_SOFT} --num-glimpses 0", "0"),
            (f"cluttered60 {_SOFT} --heads 4", "4"),
            (f"cluttered60_additive {_SOFT} --layers 9", "9"),
            (f"cluttered60_additive {_SOFT} --core gru", "'gru'"),
            (f"cluttered60 {_SOFT} --glimpse-network dense --conv-channels 8", "8"),
        ],
    ),
    (
        "colocalisation",
        "",
        [
            (f"T84 {_FINDER}", "mnist28_cnn"),
            (f"T84 {_FINDER} --encoder-from absent", "'absent'"),
            (f"T84 {_FINDER} --encoder-from digit_encoder", "'digit_encoder'"),
            (f"T84 {_FINDER} --encoder-from digit_encoder --crop 90", "90"),
            (f"T84 {_FINDER} --encoder-from found --crop 22", "'found'"),
            (f"T84 {_FINDER} --encoder-from digit_encoder --parameters-from found", "'found'"),
            (f"T84 {_FINDER} --task distorted/RTS", "'distorted/RTS'"),
            ("T85", "'T85'"),
        ],
    ),
    (
        "evaluate",
        "",
        [
            ("absent", "absent"),
            ("full", "full"),
            ("", "PATH"),
            ("found --episodes 5", "5"),
            ("ram_moving_average --episodes 0", "0"),
            ("ram_moving_average --batch-size -1", "-1"),
            ("ram_moving_average --output full", "'full'"),
            ("ram_moving_average --nothing", "--nothing"),
            ("unfinished", "unfinished"),
            ("damaged", "'resnet'"),
        ],
    ),
    (
        "forward_backward",
        "",
        [
            ("dram_sequence", "--help"),
            ("dram_sequence dram_sequence", "dram_sequence"),
            ("dram_sequence absent", "absent"),
            ("dram_sequence dram_set", "'pairs100'"),
            ("dram_sequence dram_backward --episodes 0", "0"),
            ("dram_sequence dram_backward --output absent/file", "'absent/file'"),
        ],
    ),
    (
        "focus",
        "",
        [
            ("absent", "absent"),
            ("dram_set", "'pairs100'"),
            ("dram_sequence", "'pairs100_sequence_110'"),
            ("dram_numbers --task house_numbrs", "'house_numbrs'"),
            ("dram_numbers --batch-size 0", "0"),
            ("dram_numbers --first-pass half", "half"),
        ],
    ),
    (
        "ablate",
        "",
        [
            ("rma --preset quick", "'rma'"),
            ("cnn --preset mnist", "'mnist'"),
            ("cnn --preset mnist28 --unit 3", "--units"),
            ("cnn --preset mnist28 --units 8 x", "'x'"),
            ("cnn --preset mnist28 --units 8 8", "8"),
            ("cnn --preset mnist28 --seeds two", "'two'"),
            ("cnn --preset mnist28 --jobs 0", "0"),
            ("cnn --preset mnist28 --cpus nan", "nan"),
            ("cnn --preset mnist28 --zip units", "'units'"),
            ("cnn --preset mnist28 --launcher slurm", "'slurm'"),
            ("cnn --preset mnist28 --sweep-dir full", "'full'"),
            ("study absent.py", "'absent.py'"),
        ],
    ),
]

OWN_PARTS = """
import jax.numpy as jnp


def reward(logits, labels):
    return (jnp.argmax(logits, axis=-1) == labels) * 0.5
"""


def make_files() -> None:
    """Writes the images of all runs, whose classes differ in what is bright, and the reward into the current folder."""
    Path("own_parts.py").write_text(OWN_PARTS)
    for name, count, classes, shape in (
        ("images", 150, 3, (12, 12)),
        ("digits", 300, 10, (12, 12)),
        ("colours", 90, 3, (12, 12, 3)),
    ):
        labels = np.arange(count) % classes
        pixels = np.random.default_rng(0).integers(0, 60, (count, *shape), dtype=np.uint8)
        bright = np.arange(12) * classes // 12 == labels[:, None]
        pixels[np.nonzero(bright)[0], :, np.nonzero(bright)[1]] += np.uint8(150)
        np.savez(f"{name}.npz", images=pixels, labels=labels)

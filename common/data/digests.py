"""The published digests of the fixed images of every task made from MNIST."""

import hashlib

import jax
import numpy as np

from common.data.source import Source

# SHA-256 of each fixed split made from MNIST, as computed by `digest`.
DIGESTS = {
    ("mnist28", "validation"): "cc33536cf137ca52e700cb658af02e73df6dfd6c9db9d1eb52a41597d2f79bc5",
    ("mnist28", "test"): "45a60edfded3b2bb860a7fd195c83431011e7f04318268b4f2de30030af9444e",
    ("translated60", "validation"): "7c599d09f99dc370c1771fa466b2e3adfa2d98cb8fea25564d41bff8637da2e2",
    ("translated60", "test"): "bb2acc457a9f0e28d3048b69f992fe6d0fbed8e8241420d1e9c6a75337529664",
    ("cluttered60", "validation"): "1699f18589515773fe3d7275d57ec847b5abee054f9b4c9e5dd0ecc04f2a7bb3",
    ("cluttered60", "test"): "f1171f184d72c55e7be578c4f5203c25db55b4e40dc985727ab1b774b03b3685",
    ("cluttered100", "validation"): "32f60bffc2ffaf2d735ecfa1bbbcab956f26604a63583d6e55d1a812e7d09431",
    ("cluttered100", "test"): "f583ed5565cf731aec0d4f46aba3c07f0c447b6d0675d533532a5d3e65897238",
    ("augmented100", "validation"): "a73d264c106de9d84d674fb20c70a321ed072b82f97e1c5807ed23b37478c6c1",
    ("augmented100", "test"): "e953bdef501d0551a0bfe28a50e895b2c48f0844ee65824fca9e1446e63b721c",
    ("pairs100", "validation"): "a5789f7e5e7b8cfd7ba1ae7a4a11a680e57b78129a978bcc4f89d935a98ced34",
    ("pairs100", "test"): "ac607f2b3d4cd59f91e8681cade451d4dcde4e4d2155e95480e918012194ac5d",
    ("pairs100_sequence", "validation"): "cffb7985c8a554126c92afae19e9a899f853b3b1772f52e995a3de0f2320588a",
    ("pairs100_sequence", "test"): "4e163a32b7b183bb2fb50633fa54f3c9921b9ba873fee68f109fc261e386beda",
    ("addition100", "validation"): "8c035cc03a4b7fcfe6aeab9ff0a46deb8f595bf8dffb3358760dce365bef7f4d",
    ("addition100", "test"): "9ccbba6ee188db1ec5066dcdb8a4ebbb8973f3c9d44b0f9e81772a9215b943c3",
    ("distorted/R", "validation"): "bfb0c28b25fac38bbe3aa6d62943e494ae23864b049aeb14e3b9501020ad20a1",
    ("distorted/R", "test"): "8770cc413775616bfc17859c41f232c3a25a472cd16fabb726eb6ac572c4440c",
    ("distorted/RTS", "validation"): "dd7744c6b87f2594289b781b3faaa1e6adc3a5c1f1d5d34336d3469398cf31c6",
    ("distorted/RTS", "test"): "46cbce8655fe15fe82c9107f3c711756e34b67237e33c51198953eee76151bbf",
    ("distorted/P", "validation"): "f049669e24d8e437203e6881c00810e40a8c3c9200c4fff9ade33c15649c4ba4",
    ("distorted/P", "test"): "aa87a7fe11726d41217214351dbfeada2ecbdc61bd991a98bbbbfbcbd7bb27a8",
    ("distorted/E", "validation"): "426c4443564ccdc14a570df2265559624a2b71ad6c9e13d0a8612b18eca772eb",
    ("distorted/E", "test"): "cff2e9eab9478576a6d9a1af492bac5528214ac252f8d57bc8115a414ac2a42c",
    ("tc60", "validation"): "86294def98b3595d755eee05e2ebe5eadda3fb342b27a9e8ace22d016f4b35b1",
    ("tc60", "test"): "16e2b863ac23eb362d1a0c8145291af5beb0dd58f69efe668b470c0fcf8d0d00",
    ("two_channel_addition42", "validation"): "630ba6d65a3e47b1a68f065a7f5de1302c6ce82221dd8dfada02fa2d0bacc11e",
    ("two_channel_addition42", "test"): "03d33552759c7ef9a3cfdc20953357d87c1d69cca2197577d0b8c76eebfcf074",
    ("T84", "validation"): "285be1acc7ef70eaf8deda8713097f7e8f93d82c0af6a552c948fa181c895621",
    ("T84", "test"): "ee1bcd22f7ad361923f03779ae89ec5c80fd7f1732d7aa8490c7c1f27f262fe4",
    ("TC84", "validation"): "1fa326701fc6b8cee04b01dfcf294fce0a9dbf7693eb048a8ee58fd2b85fb13f",
    ("TC84", "test"): "3223455f2c5c66d32dd7e387c63e8e7e3d98a2aafcb7eaf85a63090143aff687",
}


def digest(source: Source) -> str:
    """Return the SHA-256, in hexadecimal, of the images in C order followed by the labels as little-endian int32.

    Args:
        source: images uint8 `[N, h, w, C]`, labels `[N]` or `[N, S]`.
    """
    sha = hashlib.sha256(np.ascontiguousarray(source.images).data)
    sha.update(np.ascontiguousarray(source.labels, "<i4").data)
    return sha.hexdigest()


def check_digest(source: Source, task_name: str, split: str) -> None:
    """Check that a fixed split made from MNIST is the published one; tasks without a published digest pass.

    Raises:
        ValueError: the images differ from the published ones.
    """
    expected = DIGESTS.get((task_name, split))
    if expected is None:
        return
    actual = digest(source)
    if actual != expected:
        raise ValueError(
            f"the {split} images of {task_name!r} are not the published ones (SHA-256 is {actual}, expected "
            f"{expected}): JAX {jax.__version__} draws other random bits; is jax_threefry_partitionable switched off?"
        )

"""The knobs of a training run, and the presets that set them.

Every open point of the paper (DESIGN §7) is a field with the paper's sentence beside it; `paper` is the reading that we hold
for the likeliest, `best` what we hold for better, `demo` what two CPU cores can do in a minute.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.model.backbone import PAPER_BACKBONE
from geoloc_pipeline.model.location_encoder import SIGMAS

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANGE_NOTHING = ("cache_bytes", "workers", "checkpoint_steps", "check_steps", "compile_backbone", "micro_batch")
"""Knobs that change no number that is learned (`compile_backbone` and `micro_batch`: none but the last digits)."""
_NEVER_NEGATIVE = (
    "seed", "logit_adjust_tau", "queue_length", "same_place_km", "hierarchy_weight", "smoothing_km", "shear_deg", "augmix",
    "augmix_depth", "noise_levels", "warmup_steps", "weight_decay", "clip_norm", "patience_epochs", "workers", "cache_bytes",
    "checkpoint_steps",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """Every knob of a run; the defaults are the `paper` preset.

    Attributes:
        preset: Name of the preset that it started from.
        seed: Of weights, order and augmentation.
        backbone: timm's name. §3.2: "timm/vit_large_patch14_clip_224.laion2b_ft_in12k_in1k", not frozen.
        backbone_weights: `hub`, `none`, a path, or empty: what $GEOLOC_BACKBONE_WEIGHTS says, `hub` when it says nothing.
        input_px: Side of what the backbone sees.
        view_px: Side to which views are brought before they are augmented; 448 keeps crops from being enlarged.
        location_sigmas: §3.2: "1, 4, 16, 64, 256". They cannot tell places within ~10 km apart; `best` adds 1024 and 4096.
        location_width: §3.2: "each layer has 1024 dimensions".
        location_hidden_layers: §3.2: "5-layer MLP"; open whether that counts layers (4 hidden and the last) or capsules
            (GeoCLIP's released code has 3 hidden and the last).
        class_weighting: eq. 1 gives rare classes more weight (`vocabulary`); `none` leaves all at 1.
        logit_adjust_tau: Adds tau times the log share of a class to its logit; 0 is off. Not in the paper.
        contrastive: Whether pictures are drawn to places. Fig. 1 shows it, the text of §3.2 sums only the heads' terms.
        queue_length: §3.2: "queue size 8192".
        contrastive_symmetric: Whether places are drawn to pictures as well, as CLIP does; GeoCLIP's released code does not.
        same_place_km: Candidates closer than this do not count as negatives; 0 counts all, as GeoCLIP does.
        hierarchy_weight: Weight of the terms that hold each head to the one below it: what the towns say of a municipality, and
            the municipalities of a prefecture, summed up, has to be right too. 0 is off. Not in the paper.
        smoothing_km: Classes near the right one share its target, by exp(-distance / this); 0 is off. Not in the paper.
        views_per_epoch: `all` views of every picture in an epoch, or `one` at random. The paper's pictures are whole
            panoramas from which a crop is taken, which is one view in effect.
        validation_views: `one` view of each validation picture, the directions in turn, or `all` (four times the work).
        views_together: Views of one picture that are learned in the same step, each by itself and all of them by their mean;
            1 is the paper.
        crop_scale: Share of the area that a crop keeps. §3.1: "random cropping according to the size of the image".
        crop_ratio: Aspect ratios of a crop; torchvision's default.
        affine_scale: §3.1: "scale between 1.0 and 1.1".
        shear_deg: §3.1: "shear between -15 and 15 degrees".
        shear_both: torchvision's two-number shear is along x only; True shears along y as well.
        fill: What the affine uncovers: `black` (torchvision's default, a cue that networks learn) or `reflect`.
        augmix: Chains that are mixed. §3.1: "three default transforms, applied independently three times, composited", which
            is AugMix with every default; 0 is off.
        augmix_depth: Operators in a chain; 0: one to three at random (AugMix's default); 3 is the other reading.
        augmix_blend: Whether the original is mixed in as well, as AugMix does; §3.1 names only the three pictures.
        noise_levels: §3.1: "each pixel's value by a uniform random number from -10 to 10".
        noise_probability: §3.1: "with a probability of 50 % per image".
        optimizer: §3.2: RAdam. `adamw` is fused: a seventh of the time of a step on a CPU.
        beta2: Memory of the squared gradients; torch's default. RAdam's own warm-up lasts about 2 / (1 - beta2) steps, which is
            longer than a short run.
        learning_rate: §3.2: "1e-4".
        schedule: `constant` as in the paper, or `cosine` down to 1 % at `max_epochs`.
        warmup_steps: Steps over which the rate grows from 0; RAdam has a warm-up of its own.
        weight_decay: Not in the paper; torch's default for RAdam is 0.
        clip_norm: Largest norm of the gradient; 0 is off.
        global_batch: Pictures per step over all ranks. §3.2 says 256 and "about 1500 steps" an epoch on 2 GPUs: 722,286
            training pictures / 1500 is 512, so 256 is per GPU.
        micro_batch: Pictures that a rank puts through the network at once; the gradients of its share add up to the same step.
            0: all of them. For a GPU with less memory.
        max_epochs: §3.2: "at most 100".
        patience_epochs: §3.2: "stop when the validation loss does not improve for 5 epochs in a row".
        precision: `bf16` autocast on a GPU (§3.2: "bf16-mixed") or `fp32`; a CPU always computes in fp32.
        compile_backbone: torch.compile on the backbone, on a GPU.
        workers: Threads that decode ahead, per rank, when views do not fit in memory; 0 decodes in the loop.
        cache_bytes: Views are decoded once and kept, shared by the ranks of a machine, when all of them fit in this.
        checkpoint_steps: Steps between checkpoints inside an epoch; 0: only at its end. ViT-L's takes 4 GB and some 8 s.
        check_steps: Steps between looks at the loss (is it finite?) and at a request to stop.
    """

    preset: str = "paper"
    seed: int = 0
    backbone: str = PAPER_BACKBONE
    backbone_weights: str = ""
    input_px: int = 224
    view_px: int = 448
    location_sigmas: tuple[float, ...] = SIGMAS["paper"]
    location_width: int = 1024
    location_hidden_layers: int = 4
    class_weighting: Literal["vocabulary", "none"] = "vocabulary"
    logit_adjust_tau: float = 0.0
    contrastive: bool = True
    queue_length: int = 8192
    contrastive_symmetric: bool = False
    same_place_km: float = 0.0
    hierarchy_weight: float = 0.0
    smoothing_km: float = 0.0
    views_per_epoch: Literal["one", "all"] = "one"
    validation_views: Literal["one", "all"] = "one"
    views_together: int = 1
    crop_scale: tuple[float, ...] = (0.08, 1.0)
    crop_ratio: tuple[float, ...] = (3 / 4, 4 / 3)
    affine_scale: tuple[float, ...] = (1.0, 1.1)
    shear_deg: float = 15.0
    shear_both: bool = False
    fill: Literal["black", "reflect"] = "black"
    augmix: int = 3
    augmix_depth: int = 0
    augmix_blend: bool = True
    noise_levels: int = 10
    noise_probability: float = 0.5
    optimizer: Literal["radam", "adamw"] = "radam"
    beta2: float = 0.999
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    global_batch: int = 512
    micro_batch: int = 0
    max_epochs: int = 100
    patience_epochs: int = 5
    precision: Literal["bf16", "fp32"] = "bf16"
    compile_backbone: bool = True
    workers: int = 12
    cache_bytes: int = 8 * 2**30
    checkpoint_steps: int = 1000
    check_steps: int = 10

    def __post_init__(self) -> None:
        positive = ("input_px", "view_px", "learning_rate", "global_batch", "max_epochs", "check_steps", "location_width")
        for name in positive:
            if not getattr(self, name) > 0:
                raise SettingError(setting=name, value=getattr(self, name), cure="give a positive number")
        for name in _NEVER_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise SettingError(setting=name, value=getattr(self, name), cure="give 0 or more")
        for name, least_too_much in (("noise_levels", 128), ("shear_deg", 90)):
            if not getattr(self, name) < least_too_much:
                cure = f"give less than {least_too_much}"
                raise SettingError(setting=name, value=getattr(self, name), cure=cure)
        for name in ("crop_scale", "crop_ratio", "affine_scale"):
            low_high = getattr(self, name)
            if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
                raise SettingError(setting=name, value=low_high, cure="give two positive numbers, the smaller one first")
        if self.crop_scale[1] > 1:
            raise SettingError(setting="crop_scale", value=self.crop_scale, cure="a crop cannot keep more than 1 (all)")
        if not 0 <= self.beta2 < 1:
            raise SettingError(setting="beta2", value=self.beta2, cure="give a number from 0 to below 1")
        if not 0 <= self.noise_probability <= 1:
            raise SettingError(setting="noise_probability", value=self.noise_probability, cure="give a number from 0 to 1")

        self._check_portions()

    def _check_portions(self) -> None:
        together = self.views_together
        if together < 1:
            raise SettingError(setting="views_together", value=together, cure="give 1 or more")
        if together > 1 and not self.same_place_km > 0:
            cure = "set `same_place_km` as well: views of one picture must not count against each other"
            raise SettingError(setting="views_together", value=together, cure=cure)
        if self.micro_batch < 0 or self.micro_batch % together:
            raise SettingError(setting="micro_batch", value=self.micro_batch, cure=f"give 0 or a multiple of {together}")
        if self.micro_batch and self.contrastive_symmetric:
            cure = "give 0: from places to pictures, all pictures of a step have to be there at once"
            raise SettingError(setting="micro_batch", value=self.micro_batch, cure=cure)

    def departures(self) -> dict[str, list[Any]]:
        """Return what differs from the `paper` preset and makes a difference: the paper's value and ours, by knob."""
        paper, ours = make_config("paper").as_dict(), self.as_dict()
        ours["backbone_weights"] = PurePath(self.backbone_weights).name  # a model is handed on, its maker's folders are not
        told = [name for name in ours if name != "preset" and name not in CHANGE_NOTHING]
        return {name: [paper[name], ours[name]] for name in told if paper[name] != ours[name]}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file; tuples become lists."""
        plain = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


_PAPER = TrainingConfig()
PRESETS: dict[str, TrainingConfig] = {
    "paper": _PAPER,
    "best": replace(  # each switch, and all of them together: python -m benchmarks.ablation
        _PAPER,
        preset="best",
        location_sigmas=SIGMAS["best"],
        class_weighting="none",
        hierarchy_weight=1.0,
        same_place_km=0.5,
        crop_scale=(0.5, 1.0),
        fill="reflect",
        augmix=0,  # it posterises and solarises: places are told apart by their colours
        schedule="cosine",
        learning_rate=2e-4,  # twice the paper's, which a cosine halves on average
        warmup_steps=500,
    ),
    "demo": replace(
        _PAPER,
        preset="demo",
        backbone="test_vit",
        backbone_weights="none",
        input_px=64,
        view_px=96,
        location_width=32,
        location_hidden_layers=3,
        queue_length=128,
        same_place_km=0.5,
        views_per_epoch="all",
        validation_views="all",
        crop_scale=(0.7, 1.0),
        fill="reflect",
        augmix=0,
        beta2=0.98,
        learning_rate=3e-3,
        schedule="cosine",
        warmup_steps=50,
        clip_norm=1.0,
        global_batch=64,
        max_epochs=6,
        compile_backbone=False,
        precision="fp32",
        workers=0,
        cache_bytes=1 * 2**30,
        checkpoint_steps=0,
        check_steps=1,
    ),
}


def make_config(preset: str, overrides: Mapping[str, Any] | None = None, *, backbone_weights: str = "") -> TrainingConfig:
    """Return a preset with some knobs turned.

    Args:
        preset: `paper`, `best` or `demo`.
        overrides: Values by field of `TrainingConfig`.
        backbone_weights: What $GEOLOC_BACKBONE_WEIGHTS says; used where neither preset nor overrides say anything.

    Returns:
        The config, with `backbone_weights` settled.

    Raises:
        SettingError: No such preset or knob, or a value of the wrong kind.
    """
    if preset not in PRESETS:
        raise SettingError(setting="preset", value=preset, cure=f"choose one of {', '.join(PRESETS)}")
    hints = get_type_hints(TrainingConfig)
    turned = {}
    for name, value in (overrides or {}).items():
        if name not in hints or name == "preset":
            known = ", ".join(knob.name for knob in fields(TrainingConfig) if knob.name != "preset")
            raise SettingError(setting=f"overrides.{name}", value=value, cure=f"there is no such knob; there are {known}")
        turned[name] = _of_kind(f"overrides.{name}", value, hints[name])
    config = replace(PRESETS[preset], **turned)
    return replace(config, backbone_weights=config.backbone_weights or backbone_weights or "hub")


def _of_kind(setting: str, value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        fits, wanted = value in get_args(kind), f"one of {', '.join(get_args(kind))}"
    elif kind is bool:
        fits, wanted = isinstance(value, bool), "true or false"
    elif kind is int:
        fits, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif kind is float:
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        value = float(value) if fits else value
    elif get_origin(kind) is tuple:
        fits = isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value)
        wanted = "a list of numbers"
        value = tuple(float(item) for item in value) if fits else value
    else:
        fits, wanted = isinstance(value, str), "a text"
    if not fits:
        raise SettingError(setting=setting, value=value, cure=f"give {wanted}")
    return value

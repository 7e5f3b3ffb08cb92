"""What pages and cards say of a model's coarse pass. No torch."""

from __future__ import annotations

from osler.models.folder import Lost, ModelInfo

__all__ = ["coarse_facts"]


def coarse_facts(info: ModelInfo) -> dict[str, str]:
    """For pages and cards: the bound, and what it loses of each label."""
    if info.coarse is None:
        return {}
    coarse = info.coarse
    use = (
        f"a low-resolution network says where to look: {coarse.windows:.0%} of the windows of the validation cases; "
        "what lies elsewhere is background, unless --every-window is given"
    )
    facts = {"Coarse pass": f"off, every window is run: {coarse.problem}" if coarse.problem else use}
    for name, lost in (coarse.test or coarse.validation).items():
        whose = "test" if coarse.test else "validation"
        facts[f"Coarse pass, {name}"] = f"{_sentence(lost)}, in {lost.cases} {whose} cases of {lost.patients} patients"
    return facts


def _sentence(lost: Lost) -> str:
    voxels = f"{lost.voxels_lost / lost.voxels:.2%} of the voxels{_span(lost.voxel_interval)}"
    lesions = f"{lost.lesions_lost} of {lost.lesions} connected parts wholly{_span(lost.lesion_interval)}"
    return f"outside its bound lie {voxels}, {lesions} and {lost.lesions_cut} in part"


def _span(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" (95 % interval {interval[0]:.1%} to {interval[1]:.1%})"

"""Runs the compiled forms of a model beside a float32 reference on labelled cases, and writes down what each loses.

Every form goes the whole way that a prediction goes (preparation, windows, members, calibration, back onto the source
grid), so what is measured is what a user gets. The cases are those that the model was calibrated on: training has not
learnt from them, and no test case is touched.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.hardware import Hardware
from osler.datasets.manifest import Record
from osler.datasets.preparation import Prepared, prepare, prepare_mask
from osler.errors import DatasetError, StudyError, TooFew
from osler.inference.calibrate import images_of
from osler.inference.engines import Engine, make_engine
from osler.inference.precision import offered_forms
from osler.inference.predictor import Predictor
from osler.inference.tally import Case, Tally, make_tally
from osler.models.folder import INT8_SUFFIX, Model
from osler.models.parity import Form, FormName, ParityRecord, Reference, judge, losses
from osler.progress import CancelToken, Progress, Silent
from osler.studies.geometry import Array

__all__ = ["MOST_CASES", "compare", "forms_of", "spread"]

MOST_CASES = 48
"""Of masks, where each case costs a whole prediction in each form."""
_TOGETHER = 32  # cases without masks that go through the network at once
_ROUNDS, _TIMED_S = 9, 0.5  # of timing: at least so many rounds, and about so long
_STAGE = "comparing with float32"


def forms_of(model: Model) -> tuple[FormName, ...]:
    """The forms that a model has and this processor offers, float32 first."""
    quantised = all(INT8_SUFFIX in member.graphs for member in model.info.members)
    return tuple(form for form in offered_forms() if form != "int8" or quantised)


def spread(records: Sequence[Record], most: int = MOST_CASES) -> list[Record]:
    """At most so many, evenly over all."""
    if len(records) <= most:
        return list(records)
    return [records[round(n)] for n in np.linspace(0, len(records) - 1, most)]


def compare(
    model: Model,
    dataset: Dataset,
    records: Sequence[Record],
    *,
    parent: Model | None = None,
    notes: Sequence[str] = (),
    threads: int = 0,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> ParityRecord:
    """Measure every form of ``model`` that this processor offers.

    Args:
        model: sealed, calibrated, and without a parity record.
        dataset: with the model's labels.
        records: answered cases that the weights were not learnt from; of masks at most ``MOST_CASES`` are used.
        parent: what to compare with; None takes the model's own float32 graphs. It prepares studies as ``model`` does.
        notes: for the record.
        threads: 0 lets the engine decide.
        progress: gets the stage "comparing with float32", in cases.
        cancel: asked between cases.

    Raises:
        TooFew: when no case can be used.
        Cancelled: when a stop was asked for.
    """
    sink, token = progress or Silent(), cancel or CancelToken()
    chosen = spread(records) if model.plan.task == "segment" else list(records)
    names = forms_of(model)
    sink.start(_STAGE, len(chosen), "cases")
    with ExitStack() as stack:
        forms = {n: stack.enter_context(Predictor(model, precision=n, threads=threads)) for n in names}
        reference = forms["float32"]
        if parent is not None:
            reference = stack.enter_context(Predictor(parent, precision="float32", threads=threads))
        base = make_tally(model.plan)
        tallies = {name: make_tally(model.plan) for name in names}
        failed = _fill(reference, forms, base, tallies, dataset, chosen, sink, token)
    used = len(chosen) - len(failed)
    if not used:
        raise TooFew("no case could be used to compare the forms on", remedy="run osler inspect on the data")
    times = _patch_milliseconds(model, names, parent, threads)
    sink.finish(_STAGE)
    return ParityRecord(
        cases=used,
        reference=Reference(
            name="" if parent is None else parent.info.name,
            digest="" if parent is None else parent.info.digest,
            scores=base.scores(),
            milliseconds=times["reference" if parent is not None else "float32"],
        ),
        forms=tuple(
            _form(name, base, tallies[name], times[name], own=parent is None and name == "float32") for name in names
        ),
        machine=Hardware.detect().processor,
        notes=(*notes, *(f"{len(failed)} cases could not be used: {reason}" for reason in list(failed.values())[:1])),
    )


def _form(name: FormName, base: Tally, tally: Tally, milliseconds: float, *, own: bool) -> Form:
    """``own``: it is the reference itself, which may be run also where nothing can be scored."""
    scores = tally.scores()
    loss = losses(base.scores(), scores)
    return Form(
        name=name,
        same_labels=tally.same_labels(),
        scores=scores,
        loss=loss,
        faults=() if own else judge(loss),
        milliseconds=milliseconds,
    )


def _fill(
    reference: Predictor,
    forms: Mapping[FormName, Predictor],
    base: Tally,
    tallies: Mapping[FormName, Tally],
    dataset: Dataset,
    records: Sequence[Record],
    sink: Progress,
    token: CancelToken,
) -> dict[str, str]:
    """Tally every case in every form; the reason by name of those that cannot be used."""
    failed: dict[str, str] = {}
    together = 1 if reference.plan.task == "segment" else _TOGETHER
    for first in range(0, len(records), together):
        token.raise_if_cancelled()
        part = records[first : first + together]
        cases = [case for record in part if (case := _case(dataset, record, reference, failed)) is not None]
        studies = [case.prepared for case in cases]
        expected = _answers(reference, studies)
        _tally(base, cases, expected, expected)
        for name, predictor in forms.items():
            _tally(tallies[name], cases, expected, expected if predictor is reference else _answers(predictor, studies))
        sink.advance(_STAGE, len(part))
    return failed


def _answers(predictor: Predictor, studies: Sequence[Prepared]) -> list[Array]:
    return predictor.predict_many(studies) if studies else []


def _tally(tally: Tally, cases: Sequence[Case], expected: Sequence[Array], found: Sequence[Array]) -> None:
    for case, reference, answer in zip(cases, expected, found, strict=True):
        tally.add(case, reference, answer)


def _case(dataset: Dataset, record: Record, predictor: Predictor, failed: dict[str, str]) -> Case | None:
    plan = predictor.plan
    try:
        images = images_of(dataset, record, plan)
        prepared = prepare(images, plan)
        if record.mask is None:
            return Case(prepared, target=record.target)
        mask = dataset.read_mask(record.mask, onto=images[0])
        return Case(prepared, mask=mask.array[0], classes=prepare_mask(mask, prepared.trace, plan))
    except (StudyError, DatasetError) as error:
        failed[record.name] = error.problem
        return None


def _patch_milliseconds(
    model: Model, names: Sequence[FormName], parent: Model | None, threads: int
) -> dict[str, float]:
    """Shortest time of one patch of noise through all members, the forms in turns; "reference" is the parent's."""
    plan = model.plan
    noise = np.random.default_rng(0).standard_normal((1, plan.inputs, *plan.patch), np.float32)
    with ExitStack() as stack:
        loaded: dict[str, list[Engine]] = {name: _engines(name, model, threads, stack) for name in names}
        if parent is not None:
            loaded["reference"] = _engines("float32", parent, threads, stack)
        times: dict[str, list[float]] = {name: [] for name in loaded}
        started, rounds = time.perf_counter(), 0
        while rounds < _ROUNDS or time.perf_counter() - started < _TIMED_S:
            rounds += 1
            for name, engines in loaded.items():
                begun = time.perf_counter()
                for engine in engines:
                    engine.run({"image": noise})
                times[name].append(time.perf_counter() - begun)
    return {name: 1000 * min(found) for name, found in times.items()}


def _engines(precision: FormName, model: Model, threads: int, stack: ExitStack) -> list[Engine]:
    engines = []
    for number in range(len(model.info.members)):
        engine = make_engine()
        stack.callback(engine.release)
        graph = model.graph(number, INT8_SUFFIX if precision == "int8" else engine.suffix)
        engine.load(graph, precision=precision, threads=threads)
        engines.append(engine)
    return engines

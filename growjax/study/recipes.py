"""The cells of a study: which there are, what each depends on, and how each is labelled.

Nothing here computes; a recipe holds exactly what its result depends on, so a cell of one study is a cell of another
wherever they agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property

from growjax.grow.registry import parse_operator
from growjax.record.cells import Recipe
from growjax.schema import Record
from growjax.study.names import Given, source_name
from growjax.study.selection import Selection
from growjax.study.spec import CROSSED, GROWTH_STREAMS, REGIMES, UNWIDENED, StudySpec


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """One candidate in one regime and replicate: a probe and the continuation that goes on from it."""

    candidate: Recipe
    probe: Recipe
    continuation: Recipe | None
    """None where nothing but the probe is wanted."""
    regime: str
    replicate: int
    final_lag: int

    def probe_alone(self) -> Trajectory:
        """The same without its continuation."""
        return dataclasses.replace(self, continuation=None)


@dataclasses.dataclass(frozen=True)
class Crossed:
    """One candidate under one level of each stream."""

    candidate: Recipe
    recipe: Recipe


@dataclasses.dataclass(frozen=True)
class Extension:
    """A continuation that goes on to the long lag."""

    candidate: Recipe
    continuation: Recipe
    recipe: Recipe


@dataclasses.dataclass(frozen=True)
class Rung:
    """A candidate in a race, from one of its lags to the next."""

    candidate: Recipe
    before: Recipe | None
    """The rung that it goes on from; None for the first."""
    recipe: Recipe


@dataclasses.dataclass(frozen=True)
class StudyCells:
    """All recipes of a study, in the order in which they can be filled."""

    data: Recipe
    given: list[Recipe]
    """Sources that were not trained here."""
    sources: dict[str, list[Recipe]]
    """By seed's name: one for each step, each a child of the one before."""
    candidates: list[Recipe]
    """Widened states; the unwidened control needs none of its own."""
    trajectories: list[Trajectory]
    """The unwidened control's first: other probes are measured against it."""
    crossed: list[Crossed]
    """Empty where no streams are crossed."""
    possible: list[Extension | Rung] = dataclasses.field(default_factory=list)
    """Of every candidate that might turn out to be a finalist, or to stay in a race."""
    extensions: list[Extension | Rung] = dataclasses.field(default_factory=list)
    """Those that results asked for, as soon as they are known (`growjax.study.finalists`, `growjax.select.racing`)."""

    @cached_property
    def known(self) -> dict[str, Recipe]:
        """Every recipe by its id, those of extensions that nobody asked for included."""
        return {recipe.id: recipe for recipe in (*self.all(), *(e.recipe for e in self.possible))}

    def all(self) -> list[Recipe]:
        """Every recipe once."""
        runs = [r for t in self.trajectories for r in (t.probe, t.continuation) if r is not None]
        return [self.data, *self.given, *(r for chain in self.sources.values() for r in chain), *self.candidates, *runs,
                *(c.recipe for c in self.crossed), *(e.recipe for e in self.extensions)]  # fmt: skip

    def only(self, ids: set[str]) -> StudyCells:
        """The cells of these ids and all their ancestors."""
        known = self.known
        wanted, todo = set(), [i for i in ids if i in known]
        while todo:
            one = todo.pop()
            if one not in wanted:
                wanted.add(one)
                todo += known[one].parents
        runs = [
            dataclasses.replace(
                t, continuation=t.continuation if t.continuation and t.continuation.id in wanted else None
            )
            for t in self.trajectories
            if t.probe.id in wanted
        ]
        chains = {seed: [r for r in chain if r.id in wanted] for seed, chain in self.sources.items()}
        candidates = [r for r in self.candidates if r.id in wanted]
        sources = {seed: chain for seed, chain in chains.items() if chain}
        given = [r for r in self.given if r.id in wanted]
        crossed = [c for c in self.crossed if c.recipe.id in wanted]
        extensions = [e for e in self.possible if e.recipe.id in wanted]
        return StudyCells(self.data, given, sources, candidates, runs, crossed, self.possible, extensions)


def data_recipe(spec: StudySpec) -> Recipe:
    """The recipe of the cell that stands for the tokens."""
    return Recipe("data", {"data": spec.data.to_dict()})


def study_cells(spec: StudySpec, unwidened_lag: int) -> StudyCells:
    """The recipes of a study. `unwidened_lag` is how far the unwidened control goes on (further than the others
    where FLOPs are matched)."""
    data = data_recipe(spec)
    given = [_given(spec, one, data) for one in spec.given()]
    sources = _chains(spec, data, given)
    states = given if spec.source and 0 in spec.source_steps else []
    states = [*states, *(source for chain in sources.values() for source in chain)]
    candidates, trajectories, crossed = [], [], []
    possible: list[Extension | Rung] = []
    entrants = {regime: spec.entrants(regime) for regime in spec.all_regimes}
    for source in states:
        pool = [(UNWIDENED, source)]
        for operator in spec.candidates:
            recipe = _candidate(spec, source, operator, _exchanged(spec, parse_operator(operator).streams))
            candidates.append(recipe)
            pool.append((operator, recipe))
            if isinstance(spec, Selection):
                possible += [rung for k in range(spec.replicates_at_most) for rung in _rungs(spec, recipe, k)]
            if spec.crossed and operator in spec.operators:
                levels = _growth_levels(spec, source, recipe)
                candidates += [one for one in levels if one is not recipe]
                crossed += [c for k, one in enumerate(levels) for c in _crossed(spec, one, k)]
        control_probes: dict[tuple[str, int], Recipe] = {}
        for operator, candidate in pool:
            lag = unwidened_lag if operator == UNWIDENED else spec.continuation_lag
            for regime in spec.all_regimes:
                for replicate in range(entrants[regime].get(operator, 0)):
                    control = control_probes.get((regime, replicate))
                    run = _trajectory(spec, candidate, control, operator, regime, replicate, lag)
                    control_probes.setdefault((regime, replicate), run.probe)
                    trajectories.append(run)
                    possible += _possible(spec, run)
    trajectories.sort(key=lambda t: t.probe.label["operator"] != UNWIDENED)
    return StudyCells(data, given, sources, candidates, trajectories, crossed, possible)


def _candidate(
    spec: StudySpec, source: Recipe, operator: str, exchanged: dict[str, dict[str, int]], **label: str | int
) -> Recipe:
    return Recipe(
        "candidate",
        {"operator": operator, "to": spec.to.to_dict(), "study_seed": spec.study_seed, **exchanged},
        (source.id,),
        {"source": source.label["source"], "operator": operator, **label},
    )


def _growth_levels(spec: StudySpec, source: Recipe, candidate: Recipe) -> list[Recipe]:
    """The candidate with each level of its growth randomness; itself alone where it draws nothing."""
    operator = candidate.label["operator"]
    drawn = sorted(parse_operator(operator).streams & set(GROWTH_STREAMS))
    if not drawn:
        return [candidate]
    return [
        _candidate(spec, source, operator, {"exchanged": dict.fromkeys(drawn, k)}, regime=CROSSED, replicate=k)
        for k in range(spec.crossed.perturb)
    ]


def _crossed(spec: StudySpec, candidate: Recipe, perturb: int) -> list[Crossed]:
    """One candidate under every pair of order's and dropout's randomness; cells are numbered flat."""
    levels, lag = spec.crossed, spec.continuation_lag
    made = []
    for order in range(levels.order):
        for dropout in range(levels.dropout):
            number = (order * levels.dropout + dropout) * levels.perturb + perturb
            parameters = {
                "streams": ["order", "dropout"],
                "replicate": 0,
                "study_seed": spec.study_seed,
                "exchanged": {"order": order, "dropout": dropout},
                "eval_every": spec.eval_every,
                **_shards(spec),
                "lag": lag,
            }
            label = {"source": candidate.label["source"], "operator": candidate.label["operator"]}
            label |= {"regime": CROSSED, "replicate": number, "lag": lag}
            made.append(Crossed(candidate, Recipe("crossed", parameters, (candidate.id,), label)))
    return made


def _exchanged(spec: StudySpec, streams: Iterable[str]) -> dict[str, dict[str, int]]:
    """The exchanged streams among streams that a cell draws from; nothing at all where there is none, so that a cell
    keeps its name."""
    found = {name: replicate for name, replicate in spec.exchanged().items() if name in streams}
    return {"exchanged": found} if found else {}


def _given(spec: StudySpec, given: Given, data: Recipe) -> Recipe:
    """A source that was not trained here; its state is its identity, and what it goes on under is the study's."""
    parameters = {"state": given.digest, "step": given.step, **spec.train_config(spec.data.vocab_size).to_dict()}
    return Recipe("given", parameters, (data.id,), {"source": given.name})


def _chains(spec: StudySpec, data: Recipe, given: list[Recipe]) -> dict[str, list[Recipe]]:
    """The sources that are trained here: for each seed, and where there are given ones, from each of them."""
    if not spec.source:
        return {str(seed): _chain(spec, seed, data, None) for seed in spec.source_seeds}
    pairs = [(one, start, seed) for one, start in zip(spec.given(), given, strict=True) for seed in spec.source_seeds]
    chains = {f"{one.digest[:8]}-seed{seed}": _chain(spec, seed, start, one) for one, start, seed in pairs}
    return {name: chain for name, chain in chains.items() if chain}


def _chain(spec: StudySpec, seed: int, start: Recipe, given: Given | None) -> list[Recipe]:
    chain: list[Recipe] = []
    begun = given.step if given else 0
    for step in (begun + number for number in spec.source_steps if number):
        parameters = {
            "model": spec.model.to_dict(),
            "optim": spec.optim.to_dict(),
            "seed": seed,
            "step": step,
            "eval_every": spec.source_eval_every,
            **_shards(spec),
        }
        parents = (chain[-1].id if chain else start.id,)
        chain.append(Recipe("source", parameters, parents, {"source": source_name(seed, step, given)}))
    return chain


def _shards(spec: StudySpec) -> dict[str, int]:
    """What virtual shards add to a recipe: another way to cut a batch sums in another order."""
    return {} if spec.shards == 1 else {"shards": spec.shards}


def _trajectory(
    spec: StudySpec, candidate: Recipe, control: Recipe | None, operator: str, regime: str, replicate: int, lag: int
) -> Trajectory:
    run_keys = _run_keys(spec, regime, replicate)
    label = {"source": candidate.label["source"], "operator": operator, "regime": regime, "replicate": replicate}
    parents = (candidate.id,) if control is None else (candidate.id, control.id)
    grid = {"eval_every": spec.eval_every, **_shards(spec)}
    probe = Recipe("probe", {**run_keys, **grid, "lag": spec.probe_lag}, parents, {**label, "lag": spec.probe_lag})
    continuation = Recipe("continuation", {**run_keys, **grid, "lag": lag}, (probe.id,), {**label, "lag": lag})
    return Trajectory(candidate, probe, continuation, regime, replicate, lag)


def _rungs(spec: Selection, candidate: Recipe, replicate: int) -> list[Rung]:
    """A candidate's way through a race in one replicate, should it stay to the end."""
    (regime,), way = spec.all_regimes, list[Rung]()
    for lag in spec.rungs:
        before = way[-1].recipe if way else None
        parameters = {**_run_keys(spec, regime, replicate), "eval_every": spec.eval_every, **_shards(spec), "lag": lag}
        label = {**candidate.label, "regime": regime, "replicate": replicate, "lag": lag}
        way.append(Rung(candidate, before, Recipe("rung", parameters, ((before or candidate).id,), label)))
    return way


def _run_keys(spec: StudySpec, regime: str, replicate: int) -> Record:
    """What the randomness of a run follows from."""
    return {
        "streams": list(REGIMES[regime]),
        "replicate": replicate,
        "study_seed": spec.study_seed,
        **_exchanged(spec, REGIMES[regime]),
    }


def _possible(spec: StudySpec, run: Trajectory) -> list[Extension]:
    """How a trajectory goes on to the long lag, should its candidate be a finalist; nothing where it cannot be one."""
    continuation = run.continuation
    assert continuation is not None
    operator = continuation.label["operator"]
    ranked = operator in spec.pool_of_all and not parse_operator(operator).operator.control
    if not spec.long_lag or not ranked or run.regime not in spec.regimes or run.replicate >= spec.few_replicates:
        return []
    parameters = {**continuation.parameters, "lag": spec.long_lag}
    label = {**continuation.label, "lag": spec.long_lag}
    return [Extension(run.candidate, continuation, Recipe("extension", parameters, (continuation.id,), label))]

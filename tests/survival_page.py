"""What becomes of each property by each method, for `docs/reference/migration.md`: all kernels' claims merged."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lab import kernels
from pfkeyx import Feature, Loss, Method
from tests.kernel.survival import CASES, METHODS, Case, Property, claim

_REFUSED = "refused: "
#: By kernel, what each claim says.
Claims = Mapping[str, Mapping[str, str]]


class Survey:
    """The tables, and the reasons of what was refused, numbered as they come."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._lacks = {kernel: kernels.load().kernel(kernel).lacks for kernel in claims}
        self.reasons: list[str] = []

    def tables(self) -> Iterator[tuple[str, Iterator[tuple[str, ...]]]]:
        """Yield the title of each table and its rows, the head first."""
        rows: dict[str, list[tuple[Property, Case]]] = {}
        for case in CASES:
            for it in case.properties:
                rows.setdefault(it.table, []).append((it, case))
        for title, properties in rows.items():
            yield title, self._rows(properties)

    def _rows(self, properties: Sequence[tuple[Property, Case]]) -> Iterator[tuple[str, ...]]:
        heads = (self._with_kernels(f"`{method.value}`", feature) for method, feature in METHODS.items())
        yield "Property", *heads
        for it, case in properties:
            cells = (self._cell(it, method, case.families) for method in METHODS)
            yield self._with_kernels(it.title, case.feature), *cells

    def _with_kernels(self, text: str, feature: Feature | None) -> str:
        """Return a text with the kernels that have a feature, where not all have it."""
        having = [kernel for kernel, lacks in self._lacks.items() if feature is None or feature.value not in lacks]
        return text if _shown(having) == _shown(self._lacks) else f"{text} ({', '.join(_shown(having))})"

    def _cell(self, it: Property, method: Method, families: Sequence[int]) -> str:
        """Return what becomes of a property, once where all kernels agree."""
        kernels_of: dict[str, list[str]] = {}
        for kernel, claims in self._claims.items():
            said = {family: claims.get(claim(it, method, family)) for family in families}
            words = {family: self._words(outcome) for family, outcome in said.items() if outcome is not None}
            if words:
                kernels_of.setdefault(_merged(words), []).append(kernel)
        if len(kernels_of) <= 1:
            return next(iter(kernels_of), "")
        return "; ".join(f"{', '.join(_shown(names))}: {words}" for words, names in kernels_of.items())

    def _words(self, outcome: str) -> str:
        if not outcome.startswith(_REFUSED):
            return outcome
        reason = outcome.removeprefix(_REFUSED)
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"refused [{self.reasons.index(reason) + 1}]"


def _shown(names: Iterable[str]) -> list[str]:
    """Return the kernels as they come; those with the module of kernel/ where it makes the difference."""
    everything = list(names)
    return [name for name in everything if not name.endswith(kernels.ADDRUPDATE)] or everything


def loss_rows() -> Iterator[tuple[str, ...]]:
    """Yield each loss that a plan may announce, and whether `migrate` goes on with it."""
    yield "Loss", "What it is", "`migrate`"
    for loss in Loss:
        yield f"`{loss.name}`", loss.value, "goes on" if loss.minor else "wants it accepted, or the method forced"


def _merged(words: Mapping[int, str]) -> str:
    """Return what is said of both IP versions, or of each where they differ."""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"IPv{family} {said}" for family, said in words.items())

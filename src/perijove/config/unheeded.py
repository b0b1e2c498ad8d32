"""What a chart once took without a word and did nothing with: left out with a note instead of refused.

z2jh had no schema before 1.0, and for longer none of what stands in `hub.config`. A file of that time has
worked for years with such a key in it, so refusing it helps nobody. What looks like a misspelt key is still
an error, however old the file: there somebody waits for an effect.
"""

from perijove.config.problems import KeyPath, Note, NoteKind, Problem, ProblemKind, dotted
from perijove.config.rewrite import Rewrite
from perijove.config.schema.settings import Settings
from perijove.config.validate import validate


def validated(tree: Rewrite, *, old: bool) -> tuple[Settings | None, list[Problem]]:
    """The settings of a translated tree; what was left out for it is noted there."""
    while True:
        settings, found = validate(tree.root)
        unheeded = [problem for problem in found if _is_unheeded(problem, old=old)]
        taken = [problem for problem in unheeded if _take(tree, problem.path)]
        if not taken:
            return settings, found
        # A section may tell of one misplaced key at a time: what is left is looked at again.
        for problem in taken:
            kind = NoteKind.INFO if problem.kind is ProblemKind.EMPTY_SECTION else NoteKind.UNUSED
            tree.notes.append(Note(kind, _words(problem), problem.path, problem.position))


def _is_unheeded(problem: Problem, *, old: bool) -> bool:
    if not all(isinstance(step, str) for step in problem.path):
        return False
    match problem.kind:
        case ProblemKind.MISPLACED_AMONG_CLASSES:
            return True
        case ProblemKind.UNKNOWN:
            return old
        case ProblemKind.EMPTY_SECTION:
            # Helm takes a null for a key that is not there, of which charts need those at the top.
            return old or len(problem.path) > 1
    return False


def _words(problem: Problem) -> str:
    name = dotted(problem.path)
    if problem.kind is ProblemKind.EMPTY_SECTION:
        return f"`{name}` is empty, so its defaults are used"
    advice = f"; {problem.remedy}" if problem.remedy else ""
    return f"`{name}` is left out: it has no effect{advice}"


def _take(tree: Rewrite, path: KeyPath) -> bool:
    return tree.take(tuple(str(step) for step in path)) is not None

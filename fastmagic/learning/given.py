"""Metrics and callbacks as they were given: source text or a value, how a program writes them, and whether they work."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from typing import Any

from ..data.targets import Target
from ..errors import AnswerError, did_you_mean
from ..kinds import Kind


def source_of(name: str, value: Any, names: dict[str, Any], kind: Kind) -> str:
    """Return how a program writes `metrics` or `cbs`; a value that cannot be written gets a name of its own."""
    source = getattr(value, "source", None)
    if isinstance(value, str) or isinstance(source, str):
        text = value if isinstance(value, str) else str(source)
        with contextlib.suppress(SyntaxError):  # said when it is evaluated
            if isinstance(ast.parse(text.strip(), mode="eval").body, ast.Tuple) and not text.strip().startswith("("):
                return f"[{text.strip()}]"  # "accuracy, error_rate"
        return text
    known, vocabulary = getattr(value, "__name__", None), kind.vocabulary()
    if known and vocabulary.get(known) is value:
        return known
    if known and known.isidentifier() and known not in vocabulary:
        names[known] = value
        return known
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(source_of(f'{name}_{i}', part, names, kind) for i, part in enumerate(value))}]"
    names[name] = value
    return name


def holds_several(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or type(value).__name__ == "L"


def is_list(text: str, known: Mapping[str, Any]) -> bool:
    """Tell without running it whether an expression gives several callbacks."""
    with contextlib.suppress(SyntaxError):
        tree = ast.parse(text.strip(), mode="eval").body
        return isinstance(tree, (ast.List, ast.Tuple)) or holds_several(known.get(text.strip()))
    return False


def evaluated(text: str, names: Mapping[str, Any], user: Mapping[str, Any], what: str, kind: Kind) -> Any:
    known = {**kind.vocabulary(), **user, **names}
    try:
        return eval(text, known)
    except NameError as error:
        missing = error.name or ""
        hint = did_you_mean(missing, [name for name in known if not name.startswith("_")])
        example = "For instance accuracy, or F1Score()." if what == "metrics" else "Make it in a cell above."
        raise AnswerError(f"{what}: there is no {missing!r}.", hint or example) from None
    except Exception as error:
        raise AnswerError(f"{what}: {text} does not work here: {type(error).__name__}: {error}.") from error


def try_metrics(metrics: Any, target: Target) -> None:
    """Try metrics on made-up predictions of every class, so that they do not fail after an epoch of training."""
    import torch
    from fastai.learner import Metric

    classes = len(target.classes)
    if target.kind != "class" or not classes:
        return
    for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
        name = getattr(metric, "name", None) or getattr(metric, "__name__", type(metric).__name__)
        if isinstance(metric, Metric) and not callable(metric):
            continue  # such as Perplexity(), which reads the learner
        if isinstance(metric, type):
            raise AnswerError(f"metrics: {name} makes a metric: call it.", f"For instance `metrics={name}()`")
        if not callable(metric):
            raise AnswerError(f"metrics: a {type(metric).__name__} is no metric.", "For instance `metrics=accuracy`")
        try:
            # scikit-learn's metrics, wrapped by fastai, take classes or what their activation makes; the others take scores.
            labels = torch.arange(classes).repeat(2)
            scores = torch.eye(classes).repeat(2, 1)
            given = {"softmax": scores, "binarysoftmax": scores[:, -1]}.get(
                str(getattr(metric, "activation", "")), labels
            )
            found = metric(given if getattr(metric, "dim_argmax", None) is not None else scores, labels)
            if isinstance(found, Metric):
                raise AnswerError(f"metrics: {name} makes a metric: call it.", f"For instance `metrics={name}()`")
        except AnswerError:
            raise
        except Exception as error:
            if "average" in str(error):
                raise AnswerError(
                    f"metrics: one of them needs to know how to average {classes} classes.",
                    "For instance F1Score(average='macro').",
                ) from error
            # What goes wrong inside of a metric of fastai's or scikit-learn's would go wrong after an epoch, too.
            if isinstance(error, (AssertionError, ValueError)):
                raise AnswerError(
                    f"metrics: {name} does not fit data with one of {classes} classes an item.",
                    f"For instance {'`metrics=RocAucBinary()`' if name == 'roc_auc_score' and classes == 2 else '`metrics=accuracy`'}"
                    " (`checks=False` trains all the same.)",
                ) from error

"""frozenprobe: the best classifier a small labelled image set can give, on a frozen image backbone.

The names below are imported when they are first used, so that `import frozenprobe` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from frozenprobe._version import __version__

if TYPE_CHECKING:
    from frozenprobe.cache.care.merge import merge_features
    from frozenprobe.cache.care.repair import repair_features
    from frozenprobe.cache.care.verify import verify_features
    from frozenprobe.cache.store import Features, newest_features, open_features
    from frozenprobe.errors import FrozenprobeError
    from frozenprobe.extract.forecast import Forecast, forecast
    from frozenprobe.extract.options import Choices, ExtractRequest
    from frozenprobe.extract.report import ExtractReport
    from frozenprobe.extract.run import extract_features
    from frozenprobe.images.sources import CsvColumns, ImageSources
    from frozenprobe.probe.compare.compare import compare_runs
    from frozenprobe.probe.compare.table import render_comparison
    from frozenprobe.probe.crossval import cross_validate
    from frozenprobe.probe.curves.curve import Curve, label_curve, view_curve
    from frozenprobe.probe.curves.plot import save_plot
    from frozenprobe.probe.curves.table import render_curve
    from frozenprobe.probe.estimators import (
        CosineProbeClassifier,
        KernelProbeClassifier,
        KnnProbeClassifier,
        LdaProbeClassifier,
        LinearProbeClassifier,
        LogregProbeClassifier,
        MlpProbeClassifier,
        ReportProbeClassifier,
        RidgeProbeClassifier,
        SvmProbeClassifier,
    )
    from frozenprobe.probe.options import ProbeOptions
    from frozenprobe.probe.report.runs import Run, load_predictions, load_run, newest_run, save_run
    from frozenprobe.probe.report.submission import write_submission
    from frozenprobe.probe.report.summary import render, summarise
    from frozenprobe.probe.result import ProbeResult

HOMES = {
    "frozenprobe.cache.care.merge": ("merge_features",),
    "frozenprobe.cache.care.repair": ("repair_features",),
    "frozenprobe.cache.store": ("Features", "newest_features", "open_features"),
    "frozenprobe.cache.care.verify": ("verify_features",),
    "frozenprobe.errors": ("FrozenprobeError",),
    "frozenprobe.extract.forecast": ("Forecast", "forecast"),
    "frozenprobe.extract.report": ("ExtractReport",),
    "frozenprobe.extract.run": ("extract_features",),
    "frozenprobe.extract.options": ("Choices", "ExtractRequest"),
    "frozenprobe.probe.compare.compare": ("compare_runs",),
    "frozenprobe.probe.compare.table": ("render_comparison",),
    "frozenprobe.probe.crossval": ("ProbeResult", "cross_validate"),
    "frozenprobe.probe.estimators": (
        "CosineProbeClassifier",
        "KernelProbeClassifier",
        "KnnProbeClassifier",
        "LdaProbeClassifier",
        "LinearProbeClassifier",
        "LogregProbeClassifier",
        "MlpProbeClassifier",
        "ReportProbeClassifier",
        "RidgeProbeClassifier",
        "SvmProbeClassifier",
    ),
    "frozenprobe.probe.curves.plot": ("save_plot",),
    "frozenprobe.probe.curves.curve": ("Curve", "label_curve", "view_curve"),
    "frozenprobe.probe.curves.table": ("render_curve",),
    "frozenprobe.probe.options": ("ProbeOptions",),
    "frozenprobe.probe.report.runs": ("Run", "load_predictions", "load_run", "newest_run", "save_run"),
    "frozenprobe.probe.report.submission": ("write_submission",),
    "frozenprobe.probe.report.summary": ("render", "summarise"),
    "frozenprobe.images.sources": ("CsvColumns", "ImageSources"),
}

__all__ = [
    "Choices",
    "CosineProbeClassifier",
    "CsvColumns",
    "Curve",
    "ExtractReport",
    "ExtractRequest",
    "Features",
    "Forecast",
    "FrozenprobeError",
    "ImageSources",
    "KernelProbeClassifier",
    "KnnProbeClassifier",
    "LdaProbeClassifier",
    "LinearProbeClassifier",
    "LogregProbeClassifier",
    "MlpProbeClassifier",
    "ProbeOptions",
    "ProbeResult",
    "ReportProbeClassifier",
    "RidgeProbeClassifier",
    "Run",
    "SvmProbeClassifier",
    "__version__",
    "compare_runs",
    "cross_validate",
    "extract_features",
    "forecast",
    "label_curve",
    "load_predictions",
    "load_run",
    "merge_features",
    "newest_features",
    "newest_run",
    "open_features",
    "render",
    "render_comparison",
    "render_curve",
    "repair_features",
    "save_plot",
    "save_run",
    "summarise",
    "verify_features",
    "view_curve",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'frozenprobe' has no attribute {name!r}")

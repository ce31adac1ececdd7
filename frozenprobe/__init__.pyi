"""The public names, listed once: type checkers read them here, and `__init__.py` loads them when they are used."""

from ._version import __version__ as __version__
from .cache.care.merge import merge_features as merge_features
from .cache.care.repair import repair_features as repair_features
from .cache.care.verify import verify_features as verify_features
from .cache.store import Features as Features, newest_features as newest_features, open_features as open_features
from .errors import FrozenprobeError as FrozenprobeError
from .extract.forecast import Forecast as Forecast, forecast as forecast
from .extract.options import Choices as Choices, ExtractRequest as ExtractRequest
from .extract.report import ExtractReport as ExtractReport
from .extract.run import extract_features as extract_features
from .images.sources import CsvColumns as CsvColumns, ImageSources as ImageSources
from .probe.compare.compare import compare_runs as compare_runs
from .probe.compare.table import render_comparison as render_comparison
from .probe.crossval import cross_validate as cross_validate
from .probe.curves.curve import Curve as Curve, label_curve as label_curve, view_curve as view_curve
from .probe.curves.plot import save_plot as save_plot
from .probe.curves.table import render_curve as render_curve
from .probe.estimators import (
    CosineProbeClassifier as CosineProbeClassifier,
    KernelProbeClassifier as KernelProbeClassifier,
    KnnProbeClassifier as KnnProbeClassifier,
    LdaProbeClassifier as LdaProbeClassifier,
    LinearProbeClassifier as LinearProbeClassifier,
    LogregProbeClassifier as LogregProbeClassifier,
    MlpProbeClassifier as MlpProbeClassifier,
    ReportProbeClassifier as ReportProbeClassifier,
    RidgeProbeClassifier as RidgeProbeClassifier,
    SvmProbeClassifier as SvmProbeClassifier,
)
from .probe.options import ProbeOptions as ProbeOptions
from .probe.report.runs import (
    Run as Run,
    load_predictions as load_predictions,
    load_run as load_run,
    newest_run as newest_run,
    save_run as save_run,
)
from .probe.report.submission import write_submission as write_submission
from .probe.report.summary import render as render, summarise as summarise
from .probe.result import ProbeResult as ProbeResult

"""The scoring services: `wardstream run score`, `run fallback` and `run shadow`, a process each."""

from services.bus.run import run_step
from services.bus.settings import BadSetting, Settings
from services.score.deploy import challenger, champion, scorer
from services.score.fallback import FallbackStep
from services.score.progress import KafkaProgress
from services.score.step import ScoreStep

SCORE_GROUP = "wardstream-score"
"""The scoring step's consumer group, as the engine names it."""


def run(settings: Settings) -> None:
    """Score every record with the champion until SIGTERM."""
    run_step(ScoreStep(scorer(champion(settings), settings)), settings)


def run_shadow(settings: Settings) -> None:
    """Score every record with the challenger, to its own topic. Raises BadSetting when none is named."""
    deployed = challenger(settings)
    if deployed is None:
        raise BadSetting("WARDSTREAM_SHADOW_MODEL names no model")
    run_step(ScoreStep(scorer(deployed, settings), shadow=True), settings)


def run_fallback(settings: Settings) -> None:
    """Follow the scoring service; publish NEWS2 for what waits while the model server is away."""
    models = scorer(champion(settings), settings)
    run_step(FallbackStep(KafkaProgress(settings, SCORE_GROUP), models.away), settings)

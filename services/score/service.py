"""The scoring services: `wardstream run score`, `run fallback` and `run shadow`, a process each."""

from services.bus.health import Health
from services.bus.run import run_step
from services.bus.settings import BadSetting, Settings
from services.bus.topics import consumer_group
from services.inference.watch import Watch
from services.score.deploy import challenger, champion, scorer
from services.score.fallback import FallbackStep
from services.score.progress import KafkaProgress
from services.score.step import ScoreStep


def run(settings: Settings) -> None:
    """Score every record with the champion until SIGTERM."""
    health = Health(settings.stall_after)
    models = scorer(champion(settings), settings, watcher=Watch(health))
    run_step(ScoreStep(models), settings, health)


def run_shadow(settings: Settings) -> None:
    """Score every record with the challenger, to its own topic. Raises BadSetting when none is named."""
    model, health = challenger(settings), Health(settings.stall_after)
    if model is None:
        raise BadSetting("WARDSTREAM_SHADOW_MODEL names no model")
    models = scorer(model, settings, watcher=Watch(health))
    run_step(ScoreStep(models, shadow=True), settings, health)


def run_fallback(settings: Settings) -> None:
    """Follow the scoring service; publish NEWS2 for what waits while the model server is away.

    Ready whether or not the model server is there: it is for when it is not.
    """
    health = Health(settings.stall_after)
    models = scorer(champion(settings), settings)
    step = FallbackStep(KafkaProgress(settings, consumer_group("score")), models.away, on_wait=health.paused)
    run_step(step, settings, health)

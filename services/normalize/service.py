"""The normalize service: `wardstream run normalize`."""

from services.bus.health import Health
from services.bus.objects import open_store
from services.bus.run import run_step
from services.bus.settings import Settings, site_from_settings
from services.normalize.step import Normalize


def run(settings: Settings) -> None:
    """Run until SIGTERM; raises when it must not go on (a dead letter could not be written)."""
    health = Health(settings.stall_after)
    objects = open_store(settings.objects_address)
    run_step(Normalize(site_from_settings(settings), objects, on_wait=health.paused), settings, health)

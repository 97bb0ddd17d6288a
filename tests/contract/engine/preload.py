"""What the fork server imports once, so that a worker starts in a fraction of a second."""

import services.bus.faust_engine
import services.bus.loop_engine  # noqa: F401
import tests.contract.engine.worker  # noqa: F401

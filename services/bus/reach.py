"""Whether a broker lets us in, and if not, why: the clients try on for ever and say that they could not connect."""

import asyncio
import ssl

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from services.bus.connect import connection
from services.bus.settings import BadSetting, Settings

TIMEOUT_S = 5.0
TRIES, RETRY_S = 3, 1.0
"""A broker that is just ending also ends connections."""
_ENDS = "it ends the connection (WARDSTREAM_SECURITY_PROTOCOL, with SSL also _SSL_CERTFILE)"
_REFUSED = (AuthenticationFailedError, SaslAuthenticationFailed, IllegalSaslStateError)


class Refused(BadSetting):
    """The settings do not get us in, and trying on would not help; the text says which to look at."""


def require_entry(settings: Settings) -> None:
    """Raises Refused when the brokers that answer turn us away; returns also when none answers (yet)."""
    if reason := entry(settings):
        raise Refused(f"Kafka at {settings.bootstrap} ({settings.security_protocol}): {reason}")


def entry(settings: Settings) -> str | None:
    """Empty when a broker lets us in, why not when none does, None when none answers. Raises BadSetting for PEM files
    that cannot be read."""
    return asyncio.run(_entry(settings))


async def _entry(settings: Settings) -> str | None:
    for _ in range(TRIES):
        asked = [await _answer(settings, broker.strip()) for broker in settings.bootstrap.split(",")]
        answers = [answer for answer in asked if answer is not None]
        if not answers:
            return None
        if "" in answers:
            return ""
        if answers[0] != _ENDS:
            return answers[0]
        await asyncio.sleep(RETRY_S)
    return _ENDS


async def _answer(settings: Settings, broker: str) -> str | None:
    """Empty when the broker lets us in, the reason when it does not, None when it does not answer."""
    host, _, port = broker.rpartition(":")
    known = connection(settings)
    del known["bootstrap_servers"]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            opened = await create_conn(host.strip("[]"), int(port), **known)
    except ssl.SSLCertVerificationError as error:
        return f"the broker's certificate is not accepted: {error.verify_message} (WARDSTREAM_SSL_CAFILE, _BOOTSTRAP)"
    except ssl.SSLError as error:
        return f"TLS fails: {error.reason} (WARDSTREAM_SECURITY_PROTOCOL, _SSL_CERTFILE)"
    except _REFUSED:
        return "the user or password is not accepted (WARDSTREAM_SASL_USERNAME, _SASL_PASSWORD)"
    except UnsupportedSaslMechanismError:
        return f"it does not take {settings.sasl_mechanism} (WARDSTREAM_SASL_MECHANISM)"
    except KafkaConnectionError:  # it answered, and closed the connection
        return _ENDS
    except (OSError, TimeoutError, ValueError):
        return None
    opened.close()
    return ""

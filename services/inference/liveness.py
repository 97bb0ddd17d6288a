"""Whether a Triton server answers: `python -m services.inference.liveness URL [--serve PORT]`.

Triton's own readiness stays true when the process behind a model is dead, so a liveness probe must make a real
inference. Run once it says which models do not answer (exit status 1); with --serve it stands beside the server in its
pod and answers the kubelet's GET /healthz in the same way.
"""

import argparse
import asyncio
import sys

import tritonclient.grpc.aio as aio
from aiohttp import web
from tritonclient.utils import InferenceServerException

from services.inference.client import CHANNEL, InferenceError, TritonClient

LOOK_TIMEOUT_S = 2.0


async def broken_models(url: str) -> list[str]:
    """The server's models that do not answer a real inference; ["server"] when it cannot even say which it has."""
    client = TritonClient(url)
    try:
        names = await _models(url)
        return [name for name in names if not await _answers(client, name)]
    except InferenceServerException:
        return ["server"]
    finally:
        await client.close()


async def _models(url: str) -> list[str]:
    async with aio.InferenceServerClient(url, channel_args=list(CHANNEL)) as client:
        index = await client.get_model_repository_index(client_timeout=LOOK_TIMEOUT_S)
    return sorted({model.name for model in index.models})


async def _answers(client: TritonClient, model: str) -> bool:
    try:
        await client.probe(model, "")
    except InferenceError:
        return False
    return True


def application(url: str) -> web.Application:
    """GET /healthz: 200 when every model answers, else 503 with their names."""

    async def healthz(_: web.Request) -> web.Response:
        broken = await broken_models(url)
        text = f"no answer: {', '.join(broken)}\n" if broken else "ok\n"
        return web.Response(text=text, status=503 if broken else 200)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz)])
    return app


def main() -> int:
    parser = argparse.ArgumentParser(prog="services.inference.liveness", description=__doc__)
    parser.add_argument("url", nargs="?", default="localhost:8001", help="the server's gRPC address")
    parser.add_argument("--serve", type=int, metavar="PORT", help="answer GET /healthz here instead of running once")
    args = parser.parse_args()
    if args.serve:
        web.run_app(application(args.url), port=args.serve, print=None)
        return 0
    broken = asyncio.run(broken_models(args.url))
    print(f"no answer: {', '.join(broken)}" if broken else "every model answers")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

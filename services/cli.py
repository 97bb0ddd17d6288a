"""The command-line program. Each command's work lies in its own room; this file names them and parses words."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from services import __version__

SERVICES = (
    *("edge", "normalize", "assemble", "encode", "score", "fallback", "shadow", "monitor", "deliver"),
    *("announce", "deliver-hl7"),
)
SOURCES = ("cinc2019", "cinc2012", "eicu", "nih_cxr", "hl7v2", "fhir", "synthetic")
TRAINING_TASKS = ("sepsis-6h", "mortality-48h", "mortality-24h", "fusion", "cxr-pneumonia", "notes")
EVALUATION_TASKS = ("sepsis-6h", "mortality-48h", "mortality-24h", "cxr-pneumonia")

EXAMPLES = """examples:
  wardstream doctor                                  what is missing here, and how to get it
  wardstream demo                                    everything on this machine, with a page to look at
  wardstream demo --once --report report.json        the same without a person: replay, drain, report, stop
  wardstream up                                      only the local Kafka and Triton
  wardstream run normalize                           one service, against the Kafka that WARDSTREAM_BOOTSTRAP names
  wardstream normalize messages.hl7 bundle.json      what these files would become, as JSON lines
  wardstream replay cinc2019 train.parquet --limit 200
  wardstream dead-letters list

Settings are environment variables WARDSTREAM_*; `wardstream settings` prints them all.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit status (2 for unusable words, as argparse has it)."""
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    args.rest = rest  # training knows its own further options
    if args.rest and getattr(args, "handler", None) is not _train:
        parser.error(f"unrecognized arguments: {' '.join(args.rest)}")
    if not hasattr(args, "handler"):
        parser.print_help()
        return 2
    from services.bus.settings import BadSetting

    try:
        return int(args.handler(args) or 0)
    except BadSetting as error:
        print(f"wardstream: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: not an error
        sys.stderr.close()
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="wardstream",
        description="Hospital events in, trustworthy risk predictions out, as they happen.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"wardstream {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(
        name: str, handler: Callable[[argparse.Namespace], int], summary: str, examples: str = ""
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=summary, description=summary, epilog=examples and f"examples:\n{examples}", formatter_class=raw
        )
        sub.set_defaults(handler=handler)
        return sub

    demo = command(
        "demo",
        _demo,
        "Run the whole system on this machine: Kafka, Triton, all services, real events, a page.",
        "  wardstream demo\n  wardstream demo --data ../data/cinc2019/train.parquet --limit 50\n"
        "  wardstream demo --once --report report.json --patients 20",
    )
    demo.add_argument("--once", action="store_true", help="replay, wait until all is scored, report and stop")
    demo.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON here")
    demo.add_argument("--data", type=Path, metavar="PATH", help="a data set to replay, or a folder that holds some")
    demo.add_argument("--patients", "--limit", type=int, default=None, metavar="N", help="patients to replay")
    demo.add_argument(
        "--speed", type=float, default=None, metavar="X", help="event time over wall time; 0: as fast as it goes"
    )
    demo.add_argument("--synthetic", action="store_true", help="simulate patients even where a data set is at hand")
    demo.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="size of the local Kafka")
    demo.add_argument("--keep", action="store_true", help="keep the run's data folder when it ends")

    up = command("up", _up, "Start the local Kafka and Triton and leave them running.", "  wardstream up --brokers 3")
    up.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    command("down", _down, "Stop the local Kafka and Triton that `up` started.")

    run = command(
        "run",
        _run,
        "Run one service until it is told to stop.",
        "  wardstream run edge\n  WARDSTREAM_HL7_OUT=ehr.example:2575 wardstream run deliver-hl7",
    )
    run.add_argument("service", choices=SERVICES)

    replay = command(
        "replay",
        _replay,
        "Turn a data set into the traffic a hospital would send, and send it to the edge.",
        "  wardstream replay cinc2019 train.parquet --limit 200\n"
        "  wardstream replay hl7v2 messages/ --speed 0\n  wardstream replay synthetic --limit 20 --speed 600",
    )
    replay.add_argument("source", choices=SOURCES)
    replay.add_argument("path", type=Path, nargs="?", help="the data set's file or folder (none for synthetic)")
    replay.add_argument("--limit", type=int, default=None, metavar="N", help="patients (or files) to send")
    replay.add_argument(
        "--speed",
        type=float,
        default=0.0,
        metavar="X",
        help="event time over wall time; 0 (default): as fast as it goes",
    )
    replay.add_argument("--connections", type=int, default=4, metavar="N", help="MLLP connections")
    replay.add_argument(
        "--disorder",
        type=int,
        default=None,
        metavar="SEED",
        help="with late, repeated, preliminary, corrected and withdrawn results, and out of order; the end is the same",
    )
    replay.add_argument("--dry-run", action="store_true", help="print the messages instead of sending them")

    topics = command("topics", _topics, "Create the topics where they are missing, and list them with their settings.")
    topics.add_argument("--check", action="store_true", help="only compare; exit status 1 where they differ")
    topics.add_argument("--grant", action="store_true", help="also give each service's principal its rights (ACLs)")

    normalize = command(
        "normalize",
        _normalize,
        "Print the clinical events of HL7, FHIR and DICOM files as JSON lines. Exit status 1 if any was rejected.",
        "  wardstream normalize messages.hl7 bundle.json.gz image.dcm\n  wardstream normalize folder/ | jq .facts",
    )
    normalize.add_argument("files", type=Path, nargs="+", metavar="FILE")

    deidentify = command(
        "deidentify",
        _deidentify,
        "Turn recorded HL7, FHIR and DICOM traffic into a training set without identifiers. Exit status 1 if any was "
        "refused.",
        "  wardstream deidentify recording/ --out training-set --secret-file ~/deidentify.secret\n"
        "  wardstream deidentify --topics --out training-set --secret-file ~/deidentify.secret",
    )
    deidentify.add_argument("paths", type=Path, nargs="*", metavar="IN", help="files, or folders of files")
    deidentify.add_argument("--topics", action="store_true", help="read the raw topics of Kafka in place of files")
    deidentify.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="an empty or new folder")
    deidentify.add_argument(
        "--secret-file", type=Path, required=True, metavar="FILE", help="keys every pseudonym; made if absent"
    )
    deidentify.add_argument(
        "--max-shift-days", type=int, default=365, metavar="N", help="times of a patient move by up to N days (365)"
    )
    deidentify.add_argument("--keep-text", action="store_true", help="keep notes as they are: they may name people")
    deidentify.add_argument(
        "--strict-pixels", action="store_true", help="refuse images unless (0028,0301) says that none is written in"
    )

    score = command(
        "score-dataset",
        _score_dataset,
        "Score a data set offline with the served models and feature code; prints JSON lines.",
        "  wardstream score-dataset cinc2019 train.parquet --limit 200 > scores.jsonl",
    )
    score.add_argument("source", choices=("cinc2019", "cinc2012"))
    score.add_argument("path", type=Path)
    score.add_argument("--limit", type=int, default=None, metavar="N", help="patients")

    letters = command(
        "dead-letters",
        _dead_letters,
        "List, show or retry the messages that could not be processed.",
        "  wardstream dead-letters list --reason not_hl7\n"
        "  wardstream dead-letters show 17\n  wardstream dead-letters retry 17",
    )
    letters.add_argument("action", choices=("list", "show", "retry"))
    letters.add_argument("offset", type=int, nargs="*", help="of the dead letter in its topic (see list)")
    letters.add_argument("--reason", help="only those with this reason")
    letters.add_argument(
        "--payload", action="store_true", help="with show: print the message itself (it holds patient data)"
    )
    letters.add_argument("--all", action="store_true", help="with retry: every letter that list shows")

    train = command(
        "train",
        _train,
        "Train a model from a public data set.",
        "  wardstream train sepsis-6h --data cinc2019/\n"
        "  wardstream train fusion --data DATA --workers 2    processes side by side (default: one a processor)\n"
        "  wardstream train fusion --data DATA --quick        in miniature, to see that everything runs\n\n"
        "All options of these tasks: python -m training.cli --help",
    )
    train.add_argument("task", choices=TRAINING_TASKS)
    train.add_argument("--data", type=Path, required=True, metavar="PATH")

    evaluate = command(
        "evaluate",
        _evaluate,
        "Evaluate the shipped models on a data set: a table, JSON and an HTML report.",
        "  wardstream evaluate sepsis-6h cinc2019/ --json result.json --html result.html",
    )
    evaluate.add_argument("task", choices=EVALUATION_TASKS)
    evaluate.add_argument("path", type=Path)
    evaluate.add_argument("--json", type=Path, metavar="FILE")
    evaluate.add_argument("--html", type=Path, metavar="FILE")
    evaluate.add_argument("--limit", type=int, default=None, metavar="N", help="patients")

    token = command(
        "token",
        _token,
        "Make a token that lets somebody in over HTTP, put its hash into the file of tokens and print it, once.",
        "  wardstream token ward-3 --scopes read --file tokens\n"
        '  curl -H "Authorization: Bearer $TOKEN" http://host:8090/fhir/RiskAssessment?patient=KEY',
    )
    token.add_argument("name", help="whom it is for: letters, digits, - _ . @")
    token.add_argument("--scopes", default="read", help="read (page, FHIR, CDS Hooks), send (the edge), or read,send")
    token.add_argument("--file", type=Path, metavar="FILE", help="the file of tokens; WARDSTREAM_TOKENS when absent")

    command("doctor", _doctor, "Say what is missing on this machine, and how to get it.")
    command("settings", _settings, "Print every setting with its default and meaning.")
    return parser


def _demo(args: argparse.Namespace) -> int:
    from services.local.demo import demo

    return demo(args)


def _up(args: argparse.Namespace) -> int:
    from services.local.stack import up

    return up(args.brokers)


def _down(args: argparse.Namespace) -> int:
    from services.local.stack import down

    return down()


def _run(args: argparse.Namespace) -> int:
    import gc
    import importlib

    from services.bus.reach import require_entry
    from services.bus.settings import load

    require_entry(load())
    # Two services stand beside scoring, in its room: NEWS2 while the model server is away, and a challenger model;
    # and two beside the page: what to tell the hospital's systems as HL7 v2, and the telling.
    room, entry = {
        "fallback": ("score", "run_fallback"),
        "shadow": ("score", "run_shadow"),
        "announce": ("deliver.hl7", "run_announce"),
        "deliver-hl7": ("deliver.hl7", "run_send"),
    }.get(args.service, (args.service, "run"))
    service = importlib.import_module(f"services.{room}.service")
    # A stream of messages makes and drops objects without cycles. Python's collector would look through all of them,
    # modules included, every 700: 40 % of a record's decoding.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    getattr(service, entry)(load())
    return 0


def _replay(args: argparse.Namespace) -> int:
    from services.local.replay.command import command

    return command(args)


def _topics(args: argparse.Namespace) -> int:
    from services.bus.admin import command
    from services.bus.rights import grant
    from services.bus.settings import load

    def make() -> int:
        if args.grant:
            print(f"{grant(load())} rights granted")
        return command(check=args.check)

    return _on_kafka(make)


def _normalize(args: argparse.Namespace) -> int:
    from services.bus.settings import load, site_from_settings
    from services.normalize.offline import normalize_files

    return normalize_files(args.files, site_from_settings(load()), sys.stdout, sys.stderr)


def _deidentify(args: argparse.Namespace) -> int:
    from services.deidentify.command import command

    return command(args)


def _score_dataset(args: argparse.Namespace) -> int:
    from services.score.offline import command

    return command(args)


def _dead_letters(args: argparse.Namespace) -> int:
    from services.bus.dead_letters import command

    return _on_kafka(lambda: command(args))


def _on_kafka(command: Callable[[], int]) -> int:
    """What an operator does on Kafka; why it cannot be done is told in a line."""
    from kafka.errors import KafkaError

    from services.bus.reach import require_entry
    from services.bus.settings import load

    require_entry(load())
    try:
        return command()
    except KafkaError as error:
        print(f"wardstream: Kafka at {load().bootstrap}: {type(error).__name__}", file=sys.stderr)
        return 1


def _train(args: argparse.Namespace) -> int:
    from services.local.optional import training

    return int(training("training.cli").command(args))


def _evaluate(args: argparse.Namespace) -> int:
    import os

    from services.local.optional import training

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded; its vectors are too short to share
    return int(training("training.evaluation.command").command(args))


def _token(args: argparse.Namespace) -> int:
    from services.bus.access import command

    return command(args)


def _doctor(args: argparse.Namespace) -> int:
    from services.local.doctor import doctor

    return doctor()


def _settings(args: argparse.Namespace) -> int:
    from services.bus.settings import table

    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())

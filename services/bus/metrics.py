"""Every Prometheus metric of Wardstream: name, type, labels and help in one place. To add one, add it here.

Labels are the words of LABELS alone, whose values come from fixed lists (topics, reasons, models): never a patient, a
key, a message or a free text. `python -m services.bus.metrics` prints the table of the docs.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

LABELS = frozenset(
    {"service", "topic", "partition", "group", "format", "reason", "answer", "state", "check", "kind"}
    | {"model", "version", "modality", "feature", "target", "outcome", "quantile"}
    | {"champion", "challenger", "side"}
)
_PAIRING = ("champion", "challenger", "outcome")
LATENCY_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


def counter(name: str, help_text: str, *labels: str) -> Counter:
    """A count that only rises; prometheus_client adds `_total` to its name."""
    return Counter(f"wardstream_{name}", help_text, labels, registry=REGISTRY)


def gauge(name: str, help_text: str, *labels: str) -> Gauge:
    """A figure that rises and falls."""
    return Gauge(f"wardstream_{name}", help_text, labels, registry=REGISTRY)


def histogram(name: str, help_text: str, *labels: str, buckets: tuple[float, ...] = LATENCY_S) -> Histogram:
    """A distribution; in seconds unless the name says otherwise."""
    return Histogram(f"wardstream_{name}", help_text, labels, buckets=buckets, registry=REGISTRY)


# The engine (every processor)
PROCESSED = counter("messages_processed", "Messages a step has taken, repeats included", "service", "topic")
OUTPUTS = counter("messages_published", "Messages published and confirmed by the broker", "service", "topic")
DEAD_LETTERS = counter("dead_letters", "Messages that became dead letters", "service", "reason")
SENDS_FAILED = counter("sends_failed", "Publishes that the broker did not confirm; the process stops", "service")
STEP_SECONDS = histogram("step_seconds", "A step's own time for one micro-batch, sends excluded", "service")
CONFIRM_SECONDS = histogram("confirm_seconds", "Wait for the confirmation of a micro-batch's sends", "service")
BATCH_SIZE = histogram("batch_messages", "Messages in a micro-batch", "service", buckets=SIZES)
COMMITTED = gauge("committed_offset", "Offset up to which a partition is committed", "service", "topic", "partition")
LAG = gauge("consumer_lag_messages", "Messages between the commit and the end", "group", "topic", "partition")
ASSIGNED = gauge("assigned_partitions", "Partitions this process reads", "service")
REBALANCES = counter("rebalances", "Times the partitions were dealt anew", "service")
STATES_MENDED = counter(
    "states_mended", "States put right after a worker that stood still wrote too late (docs/engine.md)", "service"
)

# The edge
RECEIVED = counter("messages_received", "Messages that reached the edge", "format")
ACKNOWLEDGED = counter(
    "messages_acknowledged", "Answers sent by the edge (AA, AE, AR, 2xx, 0x0000, …)", "format", "answer"
)
CONTROL_IDS_REUSED = counter(
    "control_ids_reused", "HL7 messages kept although an earlier one had their MSH-10 and other bytes"
)
ACKNOWLEDGEMENTS_DROPPED = counter(
    "acknowledgements_dropped", "HL7 acknowledgements that came to the listener; they are neither answered nor kept"
)
ACK_SECONDS = histogram("acknowledge_seconds", "From a message's last byte to its acknowledgement", "format")
CONNECTIONS = gauge("connections", "Open connections at the edge", "format")
HTTP_REFUSED = counter(
    "http_refused", "HTTP calls without a known token (401) or with one for other things (403)", "service", "answer"
)

# Encode and score
PREDICTIONS = counter("predictions", "Predictions published", "model", "version", "state")
TRITON_SECONDS = histogram("triton_seconds", "One batched call of the model server", "model")
TRITON_FAILURES = counter("triton_failures", "Calls of the model server that failed", "model", "reason")
CIRCUIT = gauge("triton_circuit_open", "1 while the model server is taken to be away", "model")
END_TO_END_SECONDS = histogram("end_to_end_seconds", "From the broker's stamp on the raw message to the prediction")

# Predictions for the hospital's own systems
ANNOUNCEMENTS = counter("announcements", "Predictions that were told as HL7, or were not, and why", "reason")
HL7_OUT_ANSWERS = counter("hl7_out_answers", "What the receiver answered to a message; none: nothing usable", "answer")
HL7_OUT_AWAY = gauge("hl7_out_away", "1 while the receiver takes no messages")
HL7_OUT_SECONDS = histogram(
    "hl7_out_seconds", "From the broker's stamp on the raw message to the receiver's acceptance"
)

# The monitor: the same figures as on monitoring.metrics
SEEN_PREDICTIONS = gauge("monitor_predictions", "Predictions in the look-back", "model", "version", "state")
PREDICTION_RATE = gauge("monitor_predictions_per_second", "Predictions a second since the last figures", "model")
ALERT_SHARE = gauge("monitor_alert_share", "Share of the newest scored risks that alert", "model", "outcome")
MISSING_SHARE = gauge(
    "monitor_modality_missing_share", "Share of the newest predictions without it", "model", "modality"
)
STALE_SHARE = gauge(
    "monitor_modality_stale_share", "Share of the newest predictions where it is old", "model", "modality"
)
INPUT_PSI = gauge("monitor_input_psi", "Population stability index of an input against training", "feature")
SCORE_PSI = gauge("monitor_score_psi", "The same of a risk", "model", "outcome")
SCORE_QUANTILE = gauge("monitor_score_quantile", "Quantiles of the newest risks", "model", "outcome", "quantile")
AUROC = gauge("monitor_auroc", "Area under the ROC curve on ended stays", "model", "outcome")
BRIER = gauge("monitor_brier", "Brier score on ended stays", "model", "outcome")
CALIBRATION_SLOPE = gauge(
    "monitor_calibration_slope", "Calibration slope on ended stays (1 is right)", "model", "outcome"
)
CALIBRATION_INTERCEPT = gauge("monitor_calibration_intercept", "Its intercept (0 is right)", "model", "outcome")
LABELLED = gauge("monitor_labelled_predictions", "Predictions whose outcome is known", "model", "outcome")
POSITIVE_SHARE = gauge("monitor_outcome_share", "Share of them in which it happened", "model", "outcome")
SHADOW_PAIRS = gauge("monitor_shadow_pairs", "Newest records that champion and challenger both scored", *_PAIRING)
SHADOW_AGREEMENT = gauge("monitor_shadow_alert_agreement", "Share of them in which both alert or neither", *_PAIRING)
SHADOW_DIFFERENCE = gauge("monitor_shadow_mean_difference", "Mean absolute difference of their risks", *_PAIRING)
SHADOW_CORRELATION = gauge("monitor_shadow_correlation", "Pearson correlation of their risks", *_PAIRING)
SHADOW_LABELLED = gauge("monitor_shadow_labelled", "Pairs whose outcome is known", *_PAIRING)
SHADOW_AUROC = gauge("monitor_shadow_auroc", "Area under the ROC curve of each side on them", *_PAIRING, "side")
SHADOW_BRIER = gauge("monitor_shadow_brier", "Brier score of each side on them", *_PAIRING, "side")
SHADOW_SLOPE = gauge("monitor_shadow_calibration_slope", "Calibration slope of each side on them", *_PAIRING, "side")
SHADOW_INTERCEPT = gauge("monitor_shadow_calibration_intercept", "Its intercept", *_PAIRING, "side")
DATA_AGE = gauge("monitor_data_age_seconds", "Since the newest message of a format was received", "format")
LATENCY_QUANTILE = gauge("monitor_latency_seconds", "From acknowledged to readable prediction", "quantile")
SEEN_DEAD_LETTERS = gauge("monitor_dead_letters", "Dead letters in the look-back", "reason")
SEEN_FILTERED = gauge("monitor_filtered", "Filtered messages in the look-back", "reason")
GROUP_LAG = gauge("monitor_group_lag_messages", "Messages that a service still has before it", "group")


def by_name() -> dict[str, Gauge]:
    """The gauges by their full names, as `monitoring.metrics` names them."""
    return {metric._name: metric for metric in our_metrics() if isinstance(metric, Gauge)}


def table() -> str:
    """The metrics as a Markdown table."""
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for metric in our_metrics():
        name = metric._name + ("_total" if isinstance(metric, Counter) else "")
        labels = ", ".join(metric._labelnames)
        rows.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(rows)


def our_metrics() -> list[Counter | Gauge | Histogram]:
    """Every metric of this module, in its order."""
    return [value for value in globals().values() if isinstance(value, Counter | Gauge | Histogram)]


if __name__ == "__main__":
    print(table())

"""What an export prints of its certificate."""

from segexp.exporting.certificate import Certificate
from segexp.exporting.quantizing import Quantised
from segexp.report.certificate import TIMED


def lines(certificate: Certificate, verdict: str, quantised: Quantised | None = None) -> list[str]:
    """Return the certificate as lines of text."""
    found = ["Certificate"]
    for each in certificate.agreements:
        apart = "" if each.largest != each.largest else f"probabilities differ by {each.largest:.1e} at most, "
        share = each.changed / each.pixels
        found.append(
            f"  {each.batch} x {each.height}x{each.width}: {apart}{each.changed} of {each.pixels} pixels "
            f"have another class ({share:.1e})"
        )
    scores = certificate.scores
    if scores is None:
        found.append("  Dice: not measured")
    else:
        found.append(f"  Dice on {scores.before.cases} validation cases: {scores.before} before, {scores.after} after")
        found.append(
            f"  difference {scores.difference.mean:+.4f} [{scores.difference.low:+.4f}, {scores.difference.high:+.4f}]"
        )
    for name, taken in certificate.latencies.items():
        found.append(f"  {TIMED[name]}: {taken.median:.1f} ms, 95th percentile {taken.p95:.1f} ms ({taken.rounds} times)")
    found.append(f"  timed with one image of {certificate.size[0]}x{certificate.size[1]} on {certificate.machine}")
    found.append(f"  {certificate.bytes / 1e6:.2f} MB; the weights in float32 are {certificate.weights / 1e6:.2f} MB")
    if quantised is not None:
        kept = ", ".join(quantised.kept) or "none"
        found.append(f"  in float32 of {quantised.layers} layers: {kept}")
    return [*found, verdict]

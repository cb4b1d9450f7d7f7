"""Finds the days that are far from what the last weeks were like."""

import math

from reflow import ActorContext, Message, actor


@actor(name="Anomaly", inports=["row"], outports=["row"], state_backend="redis")
async def anomaly(context: ActorContext):
    """Every row leaves with its deviation from the window's mean, and with how many standard deviations that is away
    from the mean of all earlier deviations (Welford's running mean and variance)."""
    row = context.get_payload()["row"].unwrap()
    config = context.get_config()
    state = context.get_state()
    seen = state.get("seen", {"n": 0, "mean": 0.0, "m2": 0.0})
    n, mean, m2 = seen["n"], seen["mean"], seen["m2"]

    deviation = row["temp_max"] - row["window_mean"]
    z = 0.0
    if n >= config.get("warm_up", 30) and m2 > 0:
        z = (deviation - mean) / math.sqrt(m2 / (n - 1))

    n += 1
    delta = deviation - mean
    mean += delta / n
    m2 += delta * (deviation - mean)
    state.set("seen", {"n": n, "mean": mean, "m2": m2})
    flagged = abs(z) > config.get("threshold", 3.0)
    return {"row": Message.object({**row, "deviation": deviation, "z": z, "anomaly": flagged})}

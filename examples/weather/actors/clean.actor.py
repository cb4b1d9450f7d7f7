"""Makes numbers of what a CSV file calls numbers."""

import math

from reflow import ActorContext, Message, actor

RANGES = {"temp_max": (-60.0, 60.0), "temp_min": (-90.0, 50.0), "precipitation": (0.0, 2000.0), "wind": (0.0, 120.0)}


def number(text, low, high):
    """The number, or None where there is none or the weather cannot be like that."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and low <= value <= high else None


@actor(name="CleanRow", inports=["row"], outports=["row"], state_backend="redis")
async def clean_row(context: ActorContext):
    """Row in, row out. A bad value is replaced by the last good one of its column; where there is none yet, or where
    the row has no date, the row is dropped."""
    raw = context.get_payload()["row"].unwrap()
    state = context.get_state()
    date = str(raw.get("date") or "").replace("/", "-")
    last = state.get("last", {})
    row, repaired = {"date": date}, []
    for column, (low, high) in RANGES.items():
        value = number(raw.get(column), low, high)
        if value is None:
            value = last.get(column)
            repaired.append(column)
        row[column] = value
    if not date or None in row.values():
        context.log("warning", f"dropped a row: {raw}")
        return {}
    if row["temp_min"] > row["temp_max"]:
        row["temp_min"], row["temp_max"] = row["temp_max"], row["temp_min"]
        repaired.append("order")
    state.set("last", {column: row[column] for column in RANGES})
    return {"row": Message.object({**row, "repaired": repaired})}

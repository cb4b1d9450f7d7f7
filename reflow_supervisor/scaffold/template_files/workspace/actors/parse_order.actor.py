"""Turns what somebody typed into an order that others can count on."""

from decimal import Decimal, InvalidOperation
from typing import Any

from reflow import ActorContext, Message, actor


def parse(raw: dict[str, Any], max_quantity: int) -> dict[str, Any]:
    """The order: customer, item, quantity, and what it costs in cents.

    Raises:
        ValueError: what is wrong with it.
    """
    customer, item = str(raw.get("customer", "")).strip(), str(raw.get("item", "")).strip()
    if not customer or not item or not customer.isprintable() or len(customer) > 100:
        raise ValueError("customer and item must be text")
    try:
        quantity, price = int(str(raw.get("quantity"))), Decimal(str(raw.get("price")))
        in_range = 1 <= quantity <= max_quantity and 0 <= price <= 10_000
    except (ValueError, InvalidOperation):
        raise ValueError("quantity and price must be numbers") from None
    if not in_range:
        raise ValueError(f"quantity must be 1 to {max_quantity}, and price 0 to 10000")
    return {"customer": customer, "item": item, "quantity": quantity, "cents": quantity * round(price * 100)}


@actor(
    name="ParseOrder",
    inports={"raw": "object"},
    outports={"order": "object", "rejected": "object"},
    config_schema={"properties": {"max_quantity": {"type": "integer", "minimum": 1, "default": 10}}},
)
async def parse_order(context: ActorContext) -> dict[str, Message]:
    """Sends each order on, and what is none to `rejected`, with the reason."""
    raw = context.get_payload()["raw"].unwrap()
    try:
        return {"order": Message.object(parse(raw, context.get_config()["max_quantity"]))}
    except ValueError as error:
        return {"rejected": Message.object({"raw": raw, "reason": str(error)})}

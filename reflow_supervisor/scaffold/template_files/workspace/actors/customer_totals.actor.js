// Adds up what each customer has ordered. The sums are kept in the actor's state: they survive a crash and the run.
const { actor, Message } = require('reflow');

/**
 * Takes an order, and answers with the customer's sum so far.
 * @param {import('reflow').ActorContext} context
 */
@actor({ name: "CustomerTotals", inports: { order: "object" }, outports: { total: "object" } })
async function customerTotals(context) {
  const order = context.getPayload().get("order").unwrap();
  const state = context.getState();
  const cents = state.increment(`cents:${order.customer}`, order.cents);
  const orders = state.increment("orders");
  return { total: Message.object({ customer: order.customer, cents, orders }) };
}

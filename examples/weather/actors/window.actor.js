// The mean of the daily maximum over the last days, this one included.
const { actor, Message } = require('reflow');

@actor({ name: "MovingWindow", inports: ["row"], outports: ["row"], stateBackend: "redis" })
async function movingWindow(context) {
  const row = context.getPayload().get("row").unwrap();
  const state = context.getState();
  const { days = 30 } = context.getConfig();

  const values = [...state.get("values", []), row.temp_max].slice(-days);
  state.set("values", values);

  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { row: Message.object({ ...row, window_days: values.length, window_mean: mean }) };
}

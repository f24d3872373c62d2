"""A run that is looked at more than once: what was read is kept until it is flushed."""

import wandb

api = wandb.Api()
run = api.run("local/vision/other")
run.wait_until_finished()
print(run.state)

other = wandb.Api().run("local/vision/other")
other.notes = "Changed by someone else."
other.update()

print(api.run("local/vision/other").notes)
api.flush()
print(api.run("local/vision/other").notes)
run.stop()
print([line.content for line in run.console_logs()])

"""How a plan is carried out: the driver, and the only place that knows Parsl."""

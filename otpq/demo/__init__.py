"""The demo: an app worth running, and a run that kills a worker and the node on the way."""

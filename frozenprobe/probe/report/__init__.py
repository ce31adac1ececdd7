"""What was found, for people and for later: a ProbeResult comes in; tables, a run folder and a checked CSV go out."""

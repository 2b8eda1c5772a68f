"""Who is in a study, and what a training run left behind."""

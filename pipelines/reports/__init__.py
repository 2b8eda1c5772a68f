"""Tables, figures and names for reports."""

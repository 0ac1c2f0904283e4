"""The report: one HTML file that shows what datamodels say and how far to trust them."""

"""The detector (preprocessing, network, checkpoint), and how it is fitted, measured and explained."""

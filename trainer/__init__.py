"""What the detector is (preprocess, network, checkpoint) and how it is fitted, judged and explained."""

"""One model over many devices and processes: how arrays are cut, and training, widening and storing cut arrays."""

"""Calibration and evaluation data: arrays by input name, optional labels, batches, losses."""

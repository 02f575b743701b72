"""What a model costs at given widths: multiply-accumulates, parameters, bytes."""

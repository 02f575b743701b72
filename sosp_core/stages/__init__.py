"""What happens to a model on its way: each stage a function of the ones before."""

"""Stands in for torchvision, which fits only the very PyTorch that it was built with."""

"""From a folder of photographs to the backbone in the box: `python -m training PHOTOS --to tiny.safetensors`."""

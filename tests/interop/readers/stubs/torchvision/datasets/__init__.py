"""Of torchvision, only the name that the reader's package derives from when it is imported."""


class VisionDataset: ...

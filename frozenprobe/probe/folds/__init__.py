"""What must not be parted: contents, groups and near duplicates come in; clusters of images and their folds go out."""

"""The feature file: the only home of h5py; knows neither torch nor sklearn."""

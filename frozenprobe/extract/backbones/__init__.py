"""The frozen networks: a name, and perhaps weights, come in; a Backbone that gives the vectors of its taps goes out."""

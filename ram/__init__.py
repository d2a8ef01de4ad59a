"""RAM: the recurrent attention model of Mnih et al. 2014."""

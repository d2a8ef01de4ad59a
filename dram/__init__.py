"""DRAM: a deep recurrent attention model that reads several digits (Ba et al. 2014)."""

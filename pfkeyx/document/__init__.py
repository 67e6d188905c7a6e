"""SAs and policies outside a kernel: as plain values, as files, as setkey's scripts, as other programs' tables."""

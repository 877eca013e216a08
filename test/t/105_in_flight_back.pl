# What is done to a table while its rows are under way, in mirrors with write-back columns: see InFlight.pm.
use strict;
use warnings;
use MixpeekTest::InFlight;

in_flight_attacks(write_back => 1);

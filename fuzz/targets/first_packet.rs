//! The packet that a connection begins with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::in_any_pieces;
use pgherd_wire::hostile::first_packet;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| in_any_pieces(input, first_packet));

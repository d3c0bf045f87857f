//! The session of a console.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::in_any_pieces;
use pgherd_server::hostile::console;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| in_any_pieces(input, console));

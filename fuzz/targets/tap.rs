//! What the library hears of its connections.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd::hostile::tap;
use pgherd_lab::hostile::in_any_turns;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| in_any_turns(input, tap));

//! What the proxy relays.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::in_any_turns;
use pgherd_server::hostile::relay;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| in_any_turns(input, relay));
